"""SNIP: connection sensitivity, summed over the connections of a unit.

Lee et al., "SNIP: Single-shot Network Pruning based on Connection Sensitivity", ICLR 2019
(arXiv 1810.02340), equation 5: |w dL/dw| over its sum in the whole network.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lwdna.methods.criteria.connections import (
    Layer,
    sums_over_both_sides,
    weight_times_gradient,
)
from lwdna.methods.criteria.problem import Problem, Scores
from lwdna.methods.criteria.table import register_criterion


@register_criterion("snip", paper="Lee 2019, SNIP, arXiv 1810.02340", keeps_weights=True)
def snip(problem: Problem) -> Scores:
    """Sum of |w dL/dw| over each unit's weights.

    Those are all weights in which the unit takes part, on either side. The sum is divided by the
    sum over all weights of all units' layers, as the paper does. Unlike a gate's derivative,
    contributions of opposite signs do not cancel.

    Raises:
        TrainingError: the loss is not finite.
    """
    problem.backward()
    whole = 0.0

    def sensitivity(layer: Layer) -> Tensor | None:
        nonlocal whole
        found = weight_times_gradient(layer, absolute=True)
        whole += 0.0 if found is None else float(found.sum(dtype=torch.float64))
        return found

    totals = sums_over_both_sides(problem.wide, problem.graph, problem.widths, sensitivity)
    names = [group.name for group in problem.graph.groups]
    return {name: total / (whole or 1.0) for name, total in zip(names, totals, strict=True)}
