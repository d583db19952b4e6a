"""Magnitudes relative to what is left of their group.

Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021
(arXiv 2010.07611), equation 4, for units in the place of single weights.
"""

from __future__ import annotations

from lwdna.methods.criteria.problem import Problem, Scores
from lwdna.methods.criteria.table import register_criterion
from lwdna.methods.sparse.units import Units


@register_criterion("lamp", paper="Lee 2021, LAMP, arXiv 2010.07611", keeps_weights=True)
def lamp(problem: Problem) -> Scores:
    """Square of each unit's weights relative to the units of its group that are no smaller.

    The squares are those of all weights in which the unit takes part, on either side. A group's
    best unit scores 1, so that no group vanishes before the others.
    """
    squares = Units(problem.wide, problem.graph, problem.widths).vectors().squares()
    scores = {}
    for group, found in zip(problem.graph.groups, squares, strict=True):
        order = found.argsort(stable=True)
        left = found[order].flip(0).cumsum(0).flip(0)
        # a group without any weights has nothing to compare
        shares = found[order] / left.clamp_min(1e-300)
        scores[group.name] = found.new_empty(len(found)).index_copy_(0, order, shares).cpu()
    return scores
