"""How large the weights behind a unit are: its filters, or the scale of its normalisation."""

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
from lwdna.methods.sparse.units import norm_scales


@register_criterion("weight-norm", paper="Li 2017, arXiv 1608.08710", keeps_weights=True)
def weight_norm(problem: Problem) -> Scores:
    """Sum of |w| over each unit's filters.

    Its filters are those whose result the unit is. Li et al., "Pruning Filters for Efficient
    ConvNets", ICLR 2017 (arXiv 1608.08710), section 3.1. They prune each layer by a rate of its
    own; one threshold for all layers compares filters of different sizes, so
    ``normalize: group-mean`` comes closer to what they do.
    """
    graph = problem.graph
    totals = [
        torch.zeros(problem.widths[group.name], dtype=torch.float64) for group in graph.groups
    ]
    for weight, axis in _filters(problem.wide, graph):
        sum_by_unit(weight.detach().abs().sum(1).double().cpu(), axis, totals)
    return {group.name: total for group, total in zip(graph.groups, totals, strict=True)}


@register_criterion(
    "batchnorm-scale", paper="Liu 2017, Network Slimming, arXiv 1708.06519", keeps_weights=True
)
def batchnorm_scale(problem: Problem) -> Scores:
    """Size of each unit's scale in batch normalisation, after a warm-up.

    Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017
    (arXiv 1708.06519), section 3. Says nothing before the network has been trained: all scales
    are 1 then. See :func:`unit_scales` for units with several scales, or none.
    """
    with torch.no_grad():
        scales = unit_scales(problem.wide, problem.graph, problem.widths)
    return {name: scale.double().cpu() for name, scale in scales.items()}


def unit_scales(
    network: nn.Module, graph: ChannelGraph, widths: Mapping[str, int]
) -> dict[str, Tensor]:
    """Return the scale of every unit by group, (n,) each, differentiable.

    The largest |gamma| of the normalisation layers that a unit passes: it can only be removed
    where all of them vanish (MorphNet, arXiv 1711.06798, section 4.2.2). Where there is none, the
    largest l2 norm of the unit's filters takes its place, the group lasso of MorphNet's code.
    """
    sizes = [widths[group.name] for group in graph.groups]
    found: dict[int, list[Tensor]] = {}
    for one in norm_scales(network, graph):
        for group, piece in one.axis.split(one.parameter.abs(), sizes):
            if group is not None:
                found.setdefault(group, []).append(piece.amax((0, 2)))
    plain = set(range(len(sizes))) - set(found)
    for weight, axis in _filters(network, graph):
        if not plain.isdisjoint(axis.groups):
            norms = torch.linalg.vector_norm(weight, dim=1)
            for group, piece in axis.split(norms, sizes):
                if group in plain:
                    found.setdefault(group, []).append(piece.amax((0, 2)))
    device = next(network.parameters()).device
    return {
        group.name: torch.stack(found[g]).amax(0)
        if g in found
        else torch.ones(sizes[g], device=device)
        for g, group in enumerate(graph.groups)
    }


def _filters(network: nn.Module, graph: ChannelGraph) -> Iterator[tuple[Tensor, AxisLayout]]:
    """Yield the weights as (filters, entries), with the layout of what the filters make."""
    for name, layer in generated_weights(network, graph).items():
        out, inside = graph.tensors[name][:2]
        weight = layer.weight
        if isinstance(layer, _ConvNd) and layer.transposed:  # (I, O / g, *K)
            weight = (
                weight.reshape(layer.groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
            )
            out = inside.repeated(layer.groups)
        yield weight.flatten(1), out
