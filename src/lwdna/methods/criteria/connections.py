"""Scores of connections, and their sums over the connections of a unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from lwdna.channels import ChannelGraph
from lwdna.hypernet import generated_weights, rows_at_a_time, sum_by_unit
from lwdna.methods.sparse.units import made_axis

Layer = _ConvNd | nn.Linear


def sums_over_both_sides(
    network: nn.Module,
    graph: ChannelGraph,
    widths: Mapping[str, int],
    values: Callable[[Layer], Tensor | None],
) -> list[Tensor]:
    """Sum values per pair of channels over all pairs in which a unit takes part.

    Args:
        network: the widened network.
        graph: channel graph of the baseline.
        widths: the widths of ``network``.
        values: maps a layer to values (O, I) over the first two axes of its weight, or None.

    Returns:
        One vector per group in the graph's order, (n,) float64.
    """
    return _sums(network, graph, widths, values, lambda layer: (0, 1))


def sums_over_makers(
    network: nn.Module,
    graph: ChannelGraph,
    widths: Mapping[str, int],
    values: Callable[[Layer], Tensor | None],
) -> list[Tensor]:
    """Sum values per pair of channels over the pairs in which a unit is what is made.

    Arguments and result are those of :func:`sums_over_both_sides`.
    """
    return _sums(network, graph, widths, values, lambda layer: (made_axis(layer),))


def _sums(
    network: nn.Module,
    graph: ChannelGraph,
    widths: Mapping[str, int],
    values: Callable[[Layer], Tensor | None],
    axes: Callable[[Layer], tuple[int, ...]],
) -> list[Tensor]:
    totals = [torch.zeros(widths[group.name], dtype=torch.float64) for group in graph.groups]
    for name, layer in generated_weights(network, graph).items():
        found = values(layer)
        if found is None:
            continue
        for axis in axes(layer):
            sum_by_unit(found.sum(1 - axis).cpu(), graph.tensors[name][axis], totals)
    return totals


def weight_times_gradient(layer: Layer, *, absolute: bool = False) -> Tensor | None:
    """Return the sum of W * dL/dW (or of its size) over kernel positions, (O, I)."""
    weight, gradient = layer.weight.detach(), layer.weight.grad
    if gradient is None:
        return None
    rows = rows_at_a_time(weight.shape)  # in pieces that fit a cache
    pieces = []
    for one, two in zip(weight.split(rows), gradient.split(rows), strict=True):
        product = one * two
        product = product.abs_() if absolute else product
        pieces.append(product.reshape(*product.shape[:2], -1).sum(2))
    return torch.cat(pieces)
