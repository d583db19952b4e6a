"""Which units a search would remove if it scored the network now."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from lwdna.inputs import device_of
from lwdna.methods.answers import check_scores, check_widths
from lwdna.methods.criteria import CRITERIA, Problem
from lwdna.methods.criteria.comparable import comparable
from lwdna.methods.keep.table import Choice, chosen
from lwdna.methods.keep.units import best_units
from lwdna.methods.space import Space


def doomed_units(problem: Problem, keep: Choice) -> dict[str, Tensor]:
    """Score the network and apply the keep rule, as a search does; the problem stays as it is.

    Returns:
        Which units would go, by group: (n,) bool each.

    Raises:
        BudgetError: no widths meet the budget.
        TrainingError: the loss or a score is not finite.
    """
    settings, graph, widths = problem.settings, problem.graph, dict(problem.widths)
    scores = CRITERIA[settings.criterion].score(replace(problem, wide=deepcopy(problem.wide)))
    check_scores(scores, widths, settings.criterion)
    scores = comparable(scores, settings)
    space = Space.of(graph, widths, settings, device_of(problem.example_inputs))
    name, rule, options = chosen(keep)
    kept = rule.keep(graph, scores, space.least, space.limits, space.steps, **options)
    check_widths(kept.widths, space, name)
    found = {}
    for group, units in best_units(scores, kept.widths).items():
        found[group] = torch.ones(widths[group], dtype=torch.bool).index_fill(0, units, False)
    return found
