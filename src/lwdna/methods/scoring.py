"""From a network to the scores of its units, and from scores to widths: what all searches do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy

import torch
from torch import nn

from lwdna.methods.answers import check_scores, check_widths
from lwdna.methods.criteria import CRITERIA, Problem, Scores
from lwdna.methods.criteria.comparable import comparable
from lwdna.methods.keep.table import Choice, Kept, chosen
from lwdna.methods.prepare import warmed
from lwdna.methods.space import Space
from lwdna.methods.sparse.doomed import Narrow
from lwdna.methods.warmup import WarmedUp, WarmupRun


def scored(
    problem: Problem, run: WarmupRun | None, narrow: Narrow | None = None
) -> tuple[Scores, nn.Module | None, WarmedUp | None]:
    """Return all units' scores, the network whose weights are to be inherited, and the warm-up.

    The network of the problem is warmed up first, where its settings ask for that; ``narrow`` says
    how scores then become widths, where they do not by the settings' keep rule.

    Raises:
        RecipeError: the criterion does not answer with one score per unit.
        TrainingError: a loss or a score is not finite.
    """
    settings, whole, warmup = problem.settings, None, None
    if settings.warmup:
        problem, whole, warmup = warmed(problem, settings.warmup, run, narrow)
    criterion, weights = CRITERIA[settings.criterion], None
    if settings.inherit and whole is None:
        weights = problem.wide if criterion.keeps_weights else deepcopy(problem.wide)
    with as_it_was(problem.wide) if criterion.keeps_weights else nullcontext():
        scores = criterion.score(problem)
    check_scores(scores, problem.widths, settings.criterion)
    if settings.inherit and whole:
        weights = whole.bake()
    return comparable(scores, settings), weights, warmup


@contextmanager
def as_it_was(network: nn.Module) -> Iterator[None]:
    """Give a network the buffers and modes back that it had before the block, and no gradients.

    Parameters are not looked after: a copy of them would double the memory of a search.
    """
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in network.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    training = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, name, buffer, before in buffers:
            with torch.no_grad():
                module._buffers[name] = buffer.copy_(before)
        for module, mode in training:
            module.training = mode
        network.zero_grad(set_to_none=True)


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
