"""How large the weights on the weaker side of a unit are: those that make it, or that read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from lwdna.channels import ChannelGraph
from lwdna.channels.graph.axes import AxisLayout
from lwdna.hypernet import generated_weights, sum_by_unit
from lwdna.methods.criteria.problem import Problem, Scores
from lwdna.methods.criteria.table import register_criterion


@register_criterion("side-norm", paper="Li 2020, Hinge, arXiv 2003.08935")
def side_norm(problem: Problem) -> Scores:
    """The smaller l2 norm of the weights that make a unit and of those that read it.

    A unit is worth nothing as soon as one of them vanishes. With a penalty on the columns of a
    matrix behind a convolution, what makes an output does; with one on its rows, what reads a rank
    (Li et al., "Group Sparsity: The Hinge Between Filter Pruning and Decomposition for Network
    Compression", CVPR 2020).
    """
    return {
        name: size.cpu()
        for name, size in weaker_sides(problem.wide, problem.graph, problem.widths).items()
    }


@torch.no_grad()
def weaker_sides(
    network: nn.Module, graph: ChannelGraph, widths: Mapping[str, int]
) -> dict[str, Tensor]:
    """Return the smaller of the norms on both sides of every unit by group, (n,) float64 each.

    Where there are weights on one side only, it is that one's; where there are none, 1.
    """
    device = next(network.parameters()).device
    sizes = graph.in_order(graph.complete(widths))
    found: list[list[Tensor]] = [[] for _ in sizes]
    for side in (0, 1):
        totals = [torch.zeros(n, dtype=torch.float64, device=device) for n in sizes]
        present: set[int] = set()
        for squares, axis in _squares(network, graph, side):
            sum_by_unit(squares, axis, totals)
            present.update(axis.groups)
        for group in present:
            found[group].append(totals[group].sqrt())
    return {
        group.name: torch.stack(norms).amin(0)
        if norms
        else torch.ones(group_size, dtype=torch.float64)
        for group, norms, group_size in zip(graph.groups, found, sizes, strict=True)
    }


def _squares(
    network: nn.Module, graph: ChannelGraph, side: int
) -> Iterator[tuple[Tensor, AxisLayout]]:
    """Yield the sums of squares of all weights per entry that is made (0) or read (1)."""
    for name, layer in generated_weights(network, graph).items():
        # transposed ones have inputs first; depthwise ones make what they have there
        turned = isinstance(layer, _ConvNd) and layer.transposed and not _is_depthwise(layer)
        dim = side ^ turned
        weight = layer.weight.double()
        squares = weight.reshape(*weight.shape[:2], -1).square().sum(dim=(1 - dim, 2))
        yield squares, graph.tensors[name][dim]


def _is_depthwise(layer: _ConvNd) -> bool:
    return layer.groups == layer.in_channels > 1
