"""From a network to the scores of its units, and from scores to widths: what all searches do."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from lwdna.methods.answers import check_scores, check_widths
from lwdna.methods.criteria import CRITERIA, Problem, Scores
from lwdna.methods.keep.table import Choice, Kept, chosen
from lwdna.methods.prepare import warmed
from lwdna.methods.settings import ShrinkSettings
from lwdna.methods.space import Space
from lwdna.methods.warmup import WarmupRun

NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "group-mean": Tensor.mean,
    "group-l2": torch.linalg.vector_norm,
}
"""By what the scores of a group are divided. The l2 norm: Molchanov et al., ICLR 2017, equation 8
(arXiv 1611.06440)."""


def scored(problem: Problem, run: WarmupRun | None) -> tuple[Scores, nn.Module | None]:
    """Return the scores of all units, and the network whose weights are to be inherited.

    The network of the problem is warmed up first, where its settings ask for that.

    Raises:
        RecipeError: the criterion does not answer with one score per unit.
        TrainingError: a loss or a score is not finite.
    """
    settings, whole = problem.settings, None
    if settings.warmup:
        problem, whole = warmed(problem, settings.warmup, run)
    weights = deepcopy(problem.wide) if settings.inherit and whole is None else None
    scores = CRITERIA[settings.criterion].score(problem)
    check_scores(scores, problem.widths, settings.criterion)
    if settings.inherit and whole:
        weights = whole.bake()
    return _comparable(scores, settings), weights


def kept_by(choice: Choice, scores: Scores, space: Space) -> Kept:
    """Return the widths that a keep rule makes of scores.

    Raises:
        BudgetError: no widths between the bounds of ``space`` meet the budget.
        RecipeError: the rule gives widths that it must not give.
    """
    name, rule, options = chosen(choice)
    kept = rule.keep(space.limits.graph, scores, space.least, space.limits, space.steps, **options)
    check_widths(kept.widths, space, name)
    return kept


def _comparable(scores: Scores, settings: ShrinkSettings) -> Scores:
    """Return scores that one threshold may compare across groups."""
    if settings.normalize != "none":
        size = NORMS[settings.normalize]
        scores = {name: s / size(s).clamp_min(1e-30) for name, s in scores.items()}
    return {name: -s for name, s in scores.items()} if settings.reverse else scores
