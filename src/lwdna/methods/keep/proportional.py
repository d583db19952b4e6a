"""Widths in proportion to the groups' importance, with the baseline's own widths as a prior.

Let the value of a network of widths n be

    U(n) = sum over groups g of S_g (1 - (b_g / n_g) ** a) / a,

b the baseline's widths and a the curvature, so that every further unit of a group adds less.
Without curvature, a = 0, this is the sum of S_g log(n_g / b_g); a = 1 lets what is missing fall as
1 / n, as the squared error of an approximation by n units does (Barron, "Universal approximation
bounds for superpositions of a sigmoidal function", IEEE Transactions on Information Theory 1993).
Under a budget U is largest where n_g dC/dn_g is in proportion to S_g (b_g / n_g) ** a, C the cost,
unless a floor or the widened width is in the way: what the units of a group cost together follows
the group's importance. The cost is a sum of products of widths, so this is a geometric programme
(Boyd et al., "A tutorial on geometric programming", Optimization and Engineering 2007), and in the
logarithms of the widths there is one optimum. Where a unit's importance does not fall, as in the
knapsack, groups run to their floors and to their widened widths instead. So do, without curvature,
a residual stream and the insides of its blocks, whose cost is a product.

Whoever designed the baseline chose widths, too. They are the optimum for the importances

    P_g = n_g dC/dn_g  at the baseline's widths,

and these are as good a guess as scores from two mini-batches: S_g is the product of
(sum of the group's scores) ** (1 - prior) and P_g ** prior. docs/evidence/log.md has the trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from lwdna.methods.grid import ANY_WIDTH
from lwdna.methods.keep.knapsack import keep_by_knapsack
from lwdna.methods.keep.table import Kept, register_keep_rule
from lwdna.methods.keep.units import diminishing
from lwdna.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from lwdna.channels import ChannelGraph
    from lwdna.methods.limits import FloatArray, Limits

PRIOR, CURVATURE = 0.5, 1.0
LEAST_SHARE = 1e-12
"""What a group of no importance is given of the largest one, so that products can compare it."""


class ProportionalOptions(Settings):
    """What a recipe may say of ``keep: {rule: proportional}``."""

    prior: float = Field(default=PRIOR, ge=0, le=1)
    """How far the baseline's own widths are trusted: 0 reads the scores alone, 1 the baseline
    alone."""
    curvature: float = Field(default=CURVATURE, ge=0, le=4)
    """How soon further units of a group stop helping: the value of n of them goes as log n at 0,
    as -1 / n at 1. The larger, the less widths depart from the baseline's."""


@register_keep_rule("proportional", options=ProportionalOptions)
def keep_in_proportion(
    graph: ChannelGraph,
    scores: Mapping[str, Tensor],
    least: Mapping[str, int],
    limits: Limits,
    multiple: Mapping[str, int] = ANY_WIDTH,
    *,
    prior: float = PRIOR,
    curvature: float = CURVATURE,
) -> Kept:
    """Every group gets units that cost in proportion to the group's importance.

    A knapsack is filled with units of which each adds less than the one before it in its group;
    within a group the best stay.

    Args:
        graph: channel graph of the baseline.
        scores: one score per widened unit by group, all of one sign; larger is better. A group of
            negative scores (reversed ones) has the reciprocal of their sum's size as importance.
        least: floor by group.
        limits: what the network may cost.
        multiple: of what widths are multiples, by group; groups left out take any width.
        prior: 0 believes the scores alone, 1 the baseline's widths alone.
        curvature: how much less further units add than with a value of log n; not negative.

    Raises:
        BudgetError: the floors alone cost more than the budget, or the widened network less.
    """
    names = [group.name for group in graph.groups]
    sums = np.array([float(scores[name].double().sum()) for name in names])
    if sums.min() < 0:
        sums = -1 / np.minimum(sums, LEAST_SHARE * sums.min())
    importances = _shares(sums) ** (1 - prior) * _shares(_implied(graph, limits)) ** prior
    falling = {
        name: diminishing(
            float(importance) * graph.widths[name] ** curvature, scores[name], curvature
        )
        for name, importance in zip(names, importances, strict=True)
    }
    return keep_by_knapsack(graph, falling, least, limits, multiple)


def _implied(graph: ChannelGraph, limits: Limits) -> FloatArray:
    """Return the importances for which the baseline's widths are best, all resources alike."""
    widths = np.array([graph.widths[group.name] for group in graph.groups], dtype=np.int64)
    amounts = limits.differences(widths, 1)
    total: FloatArray = widths * np.sum(
        [amounts[name] / allowed for name, allowed in limits.allowed.items()], axis=0
    )
    return total


def _shares(importances: FloatArray) -> FloatArray:
    largest = importances.max()
    if largest <= 0:
        return np.ones_like(importances)
    shares: FloatArray = np.maximum(importances / largest, LEAST_SHARE)
    return shares
