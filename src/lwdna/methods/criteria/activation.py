"""How large the activations of a unit are, where layers read them."""

from __future__ import annotations

import torch
from torch import Tensor

from lwdna.methods.criteria.gates import Site, sites, transformed
from lwdna.methods.criteria.problem import Problem, Scores
from lwdna.methods.criteria.table import register_criterion


@register_criterion("activation", paper="Molchanov 2017, arXiv 1611.06440", keeps_weights=True)
def activation(problem: Problem) -> Scores:
    """Mean size of what layers read of each unit.

    The mean of |x| over examples, positions and the layers that read the unit; of a unit that no
    layer reads, over those that make it. Molchanov et al., "Pruning Convolutional Neural Networks
    for Resource Efficient Inference", ICLR 2017 (arXiv 1611.06440), section 2.2, has the mean after
    a rectifier, where sizes are the values themselves.

    Raises:
        TrainingError: the loss is not finite.
    """
    graph = problem.graph
    widths = graph.in_order(problem.widths)
    totals = [torch.zeros(width, dtype=torch.float64) for width in widths]
    seen = [0.0] * len(widths)
    share = 1.0

    def watch(x: Tensor, site: Site) -> Tensor:
        dim = site.dim % x.ndim
        sizes = x.abs().mean([d for d in range(x.ndim) if d != dim], dtype=torch.float64)
        for group, piece in site.axis.split(sizes.cpu(), widths):
            if group in site.groups:
                totals[group] += share * piece.mean((0, 2))
                seen[group] += share
        return x

    problem.wide.train()
    with torch.no_grad(), transformed(sites(problem.wide, graph), watch):
        losses = problem.losses()
        for size in problem.sizes:
            share = size / sum(problem.sizes)
            next(losses)
    return {
        group.name: total / max(count, 1e-12)
        for group, total, count in zip(graph.groups, totals, seen, strict=True)
    }
