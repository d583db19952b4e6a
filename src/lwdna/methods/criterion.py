"""The latent-gradient criterion: how much the loss depends on each unit's latent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lwdna.channels import ChannelGraph
from lwdna.errors import TrainingError
from lwdna.hypernet import (
    Latents,
    attach,
    draw_factors,
    generated_weights,
    rows_at_a_time,
    sum_by_unit,
)

Loss = Callable[[nn.Module, Any], Tensor]
"""Maps a network and a batch to the loss, a scalar."""


def latent_gradients(
    wide: nn.Module,
    graph: ChannelGraph,
    widths: Mapping[str, int],
    batches: Sequence[Any],
    loss: Loss,
    *,
    embedding_dim: int,
    seed: int,
    hypernetwork: bool = False,
) -> dict[str, Tensor]:
    """Return dL/dz by group, (n,) each: the mean over the batches, at initialisation.

    While the hypernetwork's biases are zero every weight is z_a[o] * z_b[i] times a factor, so

        z_a[u] * dL/dz_a[u] = sum of W * dL/dW over all entries in which unit u takes part,

    on either side of every layer; one backward pass of the plain network is enough. The
    hypernetwork itself gives the same numbers at several times the cost.

    Args:
        wide: the widened network; its convolution and linear weights are overwritten.
        graph: channel graph of the baseline.
        widths: widths of ``wide``.
        batches: mini-batches for ``loss``.
        loss: the training loss.
        embedding_dim: m of the hypernetwork, which shapes the distribution of the weights.
        seed: latents and weights are drawn from it alone.
        hypernetwork: differentiate through the hypernetwork instead of using the closed form.

    Raises:
        TrainingError: the loss is not finite.
    """
    _reset_norms(wide)
    if hypernetwork:
        latents = attach(wide, graph, widths, embedding_dim, seed)
    else:
        latents = _draw_weights(wide, graph, widths, embedding_dim, seed)
    wide.train()
    wide.zero_grad(set_to_none=True)
    for number, batch in enumerate(batches):
        value = loss(wide, batch) / len(batches)
        if not bool(torch.isfinite(value)):
            raise TrainingError(
                f"the loss of search batch {number} is {value.item()}; "
                "check the data and the normalisation of the inputs"
            )
        value.backward()
    if hypernetwork:
        found = [v.grad if v.grad is not None else torch.zeros_like(v) for v in latents.vectors]
    else:
        found = _closed_form(wide, graph, latents)
    return {name: gradient.cpu() for name, gradient in zip(latents.names, found, strict=True)}


def _reset_norms(wide: nn.Module) -> None:
    """Let normalisation start as the identity, as the paper's networks do.

    Many families start the last scale of a residual branch at zero; the gradients of everything
    before it would then vanish, and with them the scores.
    """
    for module in wide.modules():
        if isinstance(module, _NormBase | nn.GroupNorm | nn.LayerNorm):
            module.reset_parameters()


def _draw_weights(
    wide: nn.Module,
    graph: ChannelGraph,
    widths: Mapping[str, int],
    embedding_dim: int,
    seed: int,
) -> Latents:
    """Give ``wide`` the weights its hypernetwork would generate, without building it."""
    generator = torch.Generator().manual_seed(seed)
    latents = Latents(graph, widths, generator)
    with torch.no_grad():
        for name, layer in generated_weights(wide, graph).items():
            scale = latents.outer(graph.tensors[name][:2])[..., None]
            start = 0
            for first, second in draw_factors(layer.weight.shape, embedding_dim, generator):
                rows = slice(start, start + len(first))
                first *= scale[rows] if len(scale) > 1 else scale
                piece = second.mul_(first[:, :, None, :]).sum(-1)
                layer.weight[rows] = piece.reshape(layer.weight[rows].shape)
                start = rows.stop
    return latents


def _closed_form(wide: nn.Module, graph: ChannelGraph, latents: Latents) -> list[Tensor]:
    totals = [torch.zeros(len(vector), dtype=torch.float64) for vector in latents.vectors]
    for name, layer in generated_weights(wide, graph).items():
        weight = layer.weight
        if weight.grad is None:
            continue
        product = _pairwise(weight.detach(), weight.grad)
        sum_by_unit(product.sum(1).cpu(), graph.tensors[name][0], totals)
        sum_by_unit(product.sum(0).cpu(), graph.tensors[name][1], totals)
    return [
        (total / vector.detach().double()).float()
        for total, vector in zip(totals, latents.vectors, strict=True)
    ]


def _pairwise(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return the sum of W * dL/dW over kernel positions, (O, I), in pieces that fit a cache."""
    rows = rows_at_a_time(weight.shape)
    return torch.cat(
        [
            (one * two).reshape(*one.shape[:2], -1).sum(2)
            for one, two in zip(weight.split(rows), gradient.split(rows), strict=True)
        ]
    )
