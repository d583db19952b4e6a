"""Distances between filters: a filter near all others can be replaced by them.

He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks
Acceleration", CVPR 2019 (arXiv 1811.00250), equation 8.
"""

from __future__ import annotations

import torch

from lwdna.methods.criteria.problem import Problem, Scores
from lwdna.methods.criteria.table import register_criterion
from lwdna.methods.sparse.units import Units


@register_criterion("fpgm", paper="He 2019, FPGM, arXiv 1811.00250", keeps_weights=True)
def fpgm(problem: Problem) -> Scores:
    """Distance of each unit's filters from those of the other units.

    The mean over the units of a group of the l2 distance between their filters, added up over the
    layers that make the group. The paper sums instead, and compares within a layer only.
    """
    widths = problem.graph.in_order(problem.widths)
    totals = [torch.zeros(width, dtype=torch.float64) for width in widths]
    with torch.no_grad():
        made = Units(problem.wide, problem.graph, problem.widths).vectors("write")
        for piece in made.pieces:
            values = piece.parameter.movedim(piece.dim, -1)
            for group, part in piece.axis.split(values, widths):
                if group is not None:
                    filters = part.movedim(-2, 0).flatten(1).double()
                    totals[group] += torch.cdist(filters, filters).mean(1).cpu()
    return {group.name: total for group, total in zip(problem.graph.groups, totals, strict=True)}
