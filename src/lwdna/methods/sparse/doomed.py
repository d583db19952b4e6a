"""Which units a search would remove if it scored the network now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from lwdna.inputs import device_of
from lwdna.methods.answers import check_scores, check_widths
from lwdna.methods.criteria import CRITERIA, Problem, Scores
from lwdna.methods.criteria.comparable import comparable
from lwdna.methods.keep.table import Choice, chosen
from lwdna.methods.keep.units import best_units
from lwdna.methods.space import Space

Narrow = Callable[[Scores], Mapping[str, int]]
"""How a search turns scores into widths."""


def doomed_units(problem: Problem, narrow: Narrow) -> dict[str, Tensor]:
    """Score the network and find widths, as a search does; the problem stays as it is.

    Returns:
        Which units would go, by group: (n,) bool each.

    Raises:
        BudgetError: no widths meet the budget.
        TrainingError: the loss or a score is not finite.
    """
    settings, widths = problem.settings, problem.widths
    scores = CRITERIA[settings.criterion].score(replace(problem, wide=deepcopy(problem.wide)))
    check_scores(scores, widths, settings.criterion)
    scores = comparable(scores, settings)
    found = {}
    for group, units in best_units(scores, narrow(scores)).items():
        found[group] = torch.ones(widths[group], dtype=torch.bool).index_fill(0, units, False)
    return found


def by_rule(problem: Problem, keep: Choice) -> Narrow:
    """Return how a search narrows the network of a problem by a keep rule."""

    def narrow(scores: Scores) -> Mapping[str, int]:
        device = device_of(problem.example_inputs)
        space = Space.of(problem.graph, dict(problem.widths), problem.settings, device)
        name, rule, options = chosen(keep)
        kept = rule.keep(problem.graph, scores, space.least, space.limits, space.steps, **options)
        check_widths(kept.widths, space, name)
        return kept.widths

    return narrow
