"""The hypernetwork as parametrizations of a network's own layers.

After :func:`attach` the weights of the layers are computed from the latents whenever they are
read; the network's class, ``forward`` and calling convention stay the same, and its parameters are
now the latents and the generators' own. :func:`bake` turns the generated weights into parameters
again.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lwdna.channels.graph import AxisLayout, ChannelGraph
from lwdna.hypernet.latents import Latents, draw_factors, generated_weights


class Generator(nn.Module):
    """Generates one weight per pair of channels (o, i) from the product of their latents.

    Embed: E[o, i, :] = (z_a[o] * z_b[i] + B0[o, i]) * W1[o, i, :] + B1[o, i, :]
    Emit:  W[o, i, k] = sum_m W2[o, i, k, m] * E[o, i, m] + B2[o, i, k]

    The biases start at zero. B0 is (O, I), W1 and B1 are (O, I, m), W2 is (O, I, K, m), B2 is
    (O, I, K). Source: DHP (ECCV 2020), equations 4 to 6, used by LW-DNA unchanged.
    """

    def __init__(
        self,
        latents: Latents,
        axes: tuple[AxisLayout, ...],
        embedding_dim: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.latents = latents
        self.axes = axes
        self.embedding_dim = embedding_dim
        self.shape = torch.Size(())
        self._generator: torch.Generator | None = generator

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Draw the generator's parameters for a weight of this shape (its values are not used)."""
        assert self._generator is not None
        self.shape = weight.shape
        pieces = list(draw_factors(weight.shape, self.embedding_dim, self._generator))
        first = torch.cat([piece for piece, _ in pieces])
        second = torch.cat([piece for _, piece in pieces])
        self._generator = None
        zeros = (
            torch.zeros(second.shape[:2]),
            torch.zeros(first.shape),
            torch.zeros(second.shape[:3]),
        )
        b0, b1, b2 = (tensor.to(weight) for tensor in zeros)
        return b0, first.to(weight), b1, second.to(weight), b2

    def forward(self, b0: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        """Return the weight."""
        product = self.latents.outer(self.axes) + b0
        embedding = product[..., None] * w1 + b1
        return ((w2 * embedding[:, :, None, :]).sum(-1) + b2).reshape(self.shape)


def attach(
    model: nn.Module,
    graph: ChannelGraph,
    widths: Mapping[str, int],
    embedding_dim: int,
    seed: int,
) -> Latents:
    """Make ``model`` generate its convolution and linear weights from latents, in place.

    Args:
        model: the (widened) network.
        graph: the channel graph of the baseline.
        widths: the widths of ``model`` by group.
        embedding_dim: m.
        seed: the latents and generators are drawn from it alone.

    Returns:
        The latents, shared by all generators.
    """
    generator = torch.Generator().manual_seed(seed)
    latents = Latents(graph, widths, generator).to(next(model.parameters()).device)
    for name, layer in generated_weights(model, graph).items():
        parametrize.register_parametrization(
            layer,
            "weight",
            Generator(latents, graph.tensors[name][:2], embedding_dim, generator),
            unsafe=True,
        )
    return latents


def bake(model: nn.Module) -> None:
    """Replace every generator by the weight it generates, as an ordinary parameter."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
