"""One layer's part of the hypernetwork: a weight generated from two latent vectors.

Legend: O output and I input channels of a weight (I per convolution group), K kernel positions,
m embedding size. The parameters are laid out row by row with the input channels innermost, so
that a few rows of all of them lie close together and every inner loop is contiguous:
B0 (O, I), W1 and B1 (O, m, I), W2 (O, m K, I), and B2 (O, I, K) as the weight itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lwdna.channels.graph.axes import AxisLayout
from lwdna.hypernet.latents import Latents, draw_factors

CHUNK = 1 << 18
"""Entries of W2 that are worked on at once, so that all intermediate values stay in a cache."""


class Generator(nn.Module):
    """Generates one weight per pair of channels (o, i) from the product of their latents.

    Embed: E[o, :, i] = (z_a[o] * z_b[i] + B0[o, i]) * W1[o, :, i] + B1[o, :, i]
    Emit:  W[o, i, k] = sum_m W2[o, m, k, i] * E[o, m, i] + B2[o, i, k]

    The biases start at zero. Source: DHP (ECCV 2020), equations 4 to 6, used by LW-DNA unchanged.

    It is a parametrization of a layer's ``weight`` that does not own the latents: their owner is
    the :class:`lwdna.hypernet.Hypernetwork`, so that they are saved and counted once.
    """

    def __init__(
        self,
        latents: Latents,
        axes: tuple[AxisLayout, ...],
        embedding_dim: int,
        generator: torch.Generator | None,
    ) -> None:
        """Prepare the generation of one weight.

        Args:
            latents: those of the network.
            axes: the weight's first two.
            embedding_dim: m.
            generator: what W1 and W2 are drawn from; None generates the weight as it is.
        """
        super().__init__()
        self._latents = (latents,)  # in a tuple it is no submodule
        self.axes = axes
        self.embedding_dim = embedding_dim
        self.shape = torch.Size(())
        self._generator: torch.Generator | None = generator

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Return the generator's parameters for a weight.

        They are drawn for its shape alone or, where there is nothing to draw from, give its values:
        W1 = 1 and W2 = W / m give W where all latents are 1, and B2 takes up the rounding errors.
        """
        self.shape, m = weight.shape, self.embedding_dim
        if self._generator is None:
            return self._kept(weight)
        out, inside, kernel = self.shape[0], self.shape[1], math.prod(self.shape[2:])
        w1, w2 = weight.new_empty(out, m, inside), weight.new_empty(out, m * kernel, inside)
        start = 0
        for first, second in draw_factors(self.shape, m, self._generator):
            rows = slice(start, start + len(first))
            w1[rows] = first.transpose(1, 2)
            w2[rows] = second.permute(0, 3, 2, 1).flatten(1, 2)
            start = rows.stop
        self._generator = None
        b2 = weight.new_zeros(out, inside, kernel)
        return weight.new_zeros(out, inside), w1, torch.zeros_like(w1), w2, b2

    def _kept(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Return parameters that generate the values of ``weight`` from latents of 1."""
        m = self.embedding_dim
        wanted = weight.detach().reshape(*weight.shape[:2], -1)
        b0 = wanted.new_zeros(wanted.shape[:2])
        w1 = wanted.new_ones(len(wanted), m, wanted.shape[1])
        b1, w2 = torch.zeros_like(w1), (wanted.transpose(1, 2) / m).repeat(1, m, 1)
        b2 = torch.zeros_like(wanted)
        with torch.no_grad():
            found = self.forward(b0, w1, b1, w2, b2).view_as(wanted)
        return b0, w1, b1, w2, wanted - found

    def forward(self, b0: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        """Return the weight."""
        first, second = (axis.spread(self._latents[0].vectors) for axis in self.axes)
        # a compiler fuses the formula and decides by itself what to compute again
        make = formula if torch.compiler.is_compiling() else _Generate.apply
        weight: Tensor = make(first, second, b0, w1, b1, w2, b2)
        return weight.view(self.shape)


def formula(
    first: Tensor, second: Tensor, b0: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
) -> Tensor:
    """Return the weight (O, I, K) of latents ``first`` (O,) and ``second`` (I,), in plain terms."""
    embedding = (first[:, None] * second + b0)[:, None] * w1 + b1
    emitted = (w2.unflatten(1, (w1.shape[1], -1)) * embedding[:, :, None]).sum(1)
    weight: Tensor = emitted.transpose(1, 2) + b2
    return weight


class _Generate(torch.autograd.Function):
    """:func:`formula` in chunks of rows; the backward pass computes the embedding again.

    What is kept for the backward pass are the arguments alone.
    """

    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        first, second, b0, w1, b1, w2, b2 = given
        ctx.save_for_backward(*given[:-1])
        weight = torch.empty_like(b2)
        for rows in _chunks(w2):
            _, embedding = _embed(first[rows], second, b0[rows], w1[rows], b1[rows])
            factors = w2[rows].unflatten(1, (w1.shape[1], -1))
            emitted = factors[:, 0] * embedding[:, 0, None]
            for j in range(1, w1.shape[1]):
                emitted.addcmul_(factors[:, j], embedding[:, j, None])
            torch.add(b2[rows], emitted.transpose(1, 2), out=weight[rows])
        return weight

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        first, second, b0, w1, b1, w2 = ctx.saved_tensors
        of_first, of_second = torch.empty_like(first), torch.zeros_like(second)
        of_b0, of_w1, of_b1, of_w2 = map(torch.empty_like, (b0, w1, b1, w2))
        for rows in _chunks(w2):
            pairs, embedding = _embed(first[rows], second, b0[rows], w1[rows], b1[rows])
            emitted = gradient[rows].transpose(1, 2).contiguous()[:, None]
            split = (w1.shape[1], -1)
            torch.mul(emitted, embedding[:, :, None], out=of_w2[rows].unflatten(1, split))
            _emit_backward(emitted, w2[rows].unflatten(1, split), of_b1[rows])
            torch.mul(of_b1[rows], pairs[:, None], out=of_w1[rows])
            torch.mul(of_b1[rows, 0], w1[rows, 0], out=of_b0[rows])
            for j in range(1, w1.shape[1]):
                of_b0[rows].addcmul_(of_b1[rows, j], w1[rows, j])
            torch.mv(of_b0[rows], second, out=of_first[rows])
            of_second.addmv_(of_b0[rows].T, first[rows])
        return of_first, of_second, of_b0, of_w1, of_b1, of_w2, gradient


def _embed(
    first: Tensor, second: Tensor, b0: Tensor, w1: Tensor, b1: Tensor
) -> tuple[Tensor, Tensor]:
    """Return z_a z_b + B0, (rows, I), and the embedding, (rows, m, I)."""
    pairs = torch.addcmul(b0, first[:, None], second)
    return pairs, torch.addcmul(b1, pairs[:, None], w1)


def _emit_backward(gradient: Tensor, w2: Tensor, out: Tensor) -> None:
    """Write the sum over K of dL/dW (rows, 1, K, I) times W2 (rows, m, K, I) to (rows, m, I)."""
    if w2.shape[2] == 1:
        torch.mul(gradient[:, :, 0], w2[:, :, 0], out=out)
    else:
        torch.sum(gradient * w2, 2, out=out)


def _chunks(w2: Tensor) -> Iterator[slice]:
    """Yield slices of the rows of W2 (O, m K, I)."""
    step = max(1, CHUNK // math.prod(w2.shape[1:]))
    for start in range(0, len(w2), step):
        yield slice(start, start + step)
