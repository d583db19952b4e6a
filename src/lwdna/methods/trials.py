"""Short trainings that decide between widths: what a criterion guesses, these try.

The first network tried is the baseline (narrowed where the budget asks for it), the second what the
criterion found; then pairs of networks that depart from the baseline in opposite directions, then
what :mod:`lwdna.methods.proposals` takes for most promising. All keep the budget. Judged is the
training loss, which needs no images that training does not see and varies less between seeds than
an accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from lwdna.channels import ChannelGraph, resize
from lwdna.engine.together import shared
from lwdna.methods.limits import IntArray
from lwdna.methods.proposals import EXPLORED, Space, choose, explore, narrowed, propose
from lwdna.methods.settings import TrialSettings
from lwdna.methods.trial_runs import Make, Trial, TrialSetup, run_round, shortened


def try_widths(
    model: nn.Module,
    space: Space,
    first: Mapping[str, int],
    setup: TrialSetup,
    settings: TrialSettings,
    seed: int,
) -> tuple[dict[str, int], list[Trial]]:
    """Try networks and choose the widths whose loss is expected to be lowest.

    Trials that ``setup.folder`` holds are not repeated; one that was stopped goes on.

    Args:
        model: the baseline; it is not changed.
        space: what widths are allowed.
        first: widths to try beside the baseline's.
        setup: data, protocol, folder.
        settings: how many trainings, and how long.
        seed: initial weights, orders of the data and proposals follow from it.

    Returns:
        The widths chosen, and all trials.

    Raises:
        RecipeError: trials are too short.
        TrainingError: training failed already with the baseline's proportions.
        TrainingInterrupted: a signal asked to stop; finished trials are kept.
        CheckpointError: a record of a trial is damaged.
    """
    protocol = shortened(setup.protocol, settings, setup.task.train_size)
    names = [group.name for group in space.limits.graph.groups]
    beginning = [narrowed(space), np.array([first[name] for name in names])]
    make = maker(model, space.limits.graph)
    trials: list[Trial] = []
    while len(trials) < settings.count:
        rest = settings.count - len(trials)
        number = len(trials)
        if not trials:
            several = [_shared(widths) for widths in beginning[:rest]]
        elif number < len(beginning) + EXPLORED:
            several = [_shared(explore(space, i, seed)) for i in range(min(EXPLORED, rest))]
        else:
            several = [_shared(propose(space, *_tried(trials), seed))]
        wanted = [dict(zip(names, widths, strict=True)) for widths in several]
        trials += run_round(make, wanted, number, setup, protocol, seed, total=settings.count)
    chosen = _shared(choose(space, *_tried(trials), seed))
    return dict(zip(names, chosen, strict=True)), trials


def maker(model: nn.Module, graph: ChannelGraph) -> Make:
    """Return what makes the networks of trials: the baseline at other widths, fresh weights."""
    return lambda widths, seed: resize(model, graph, widths, seed=seed)


def _tried(trials: Sequence[Trial]) -> tuple[list[IntArray], list[float]]:
    """Return the widths and the losses of trials; one that failed has the worst loss of all."""
    worst = max(trial.loss for trial in trials if trial.loss is not None)
    losses = [worst if trial.loss is None else trial.loss for trial in trials]
    return [np.array(list(trial.widths.values())) for trial in trials], losses


def _shared(widths: IntArray) -> list[int]:
    """Return the widths of the first process: others may have rounded differently."""
    return shared([int(width) for width in widths])
