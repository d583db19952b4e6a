"""The search by trials: short trainings teach the law of the network, the law chooses the widths.

The first round of trials holds the baseline (narrowed where the budget asks for it) and networks
drawn around it at the budget. Every further round holds the networks that would be best for
exponents drawn from what is known by then (Thompson sampling; Russo et al., "A Tutorial on Thompson
Sampling", 2018, arXiv 1707.02038), so that both what looks good and what is unknown is tried. In
the end the network is chosen whose gain is surest, and the baseline is kept where none is sure.
With a proxy all trials are of a smaller network, and its law is carried over before that choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from lwdna.channels import ChannelGraph, resize
from lwdna.engine.together import is_first, shared
from lwdna.errors import TrainingError
from lwdna.methods.budget import Budget
from lwdna.methods.limits import FloatArray, IntArray
from lwdna.methods.settings import TrialSettings
from lwdna.methods.space import Space
from lwdna.methods.trials.conclusion import Conclusion, concluded
from lwdna.methods.trials.features import gathered
from lwdna.methods.trials.law import Law, fitted
from lwdna.methods.trials.proxy import Pairing
from lwdna.methods.trials.region import Region, Value
from lwdna.methods.trials.runs import Make, Trial, TrialSetup, run_round, shortened

ROUND = 8
"""Trials that are chosen at once, so that several processes have something to do."""
PER_FEATURE = 3
"""Trials for each exponent that is to be told apart."""
SHOWN = {"cut": 0.25, "compressed": 0.5}
"""Lengths of trials from which on the law kept most of the gain of whole trainings, by schedule."""
DRAWS = 20
"""How often exponents are drawn to find a network that was not tried."""

Evaluate = Callable[[Sequence[dict[str, int]], int], Sequence[Trial]]
"""Tries networks, given by their widths, of which the first is the trial of the given number."""


def try_widths(
    model: nn.Module,
    space: Space,
    budget: Budget,
    setup: TrialSetup,
    settings: TrialSettings,
    seed: int,
    proxy: Space | None = None,
) -> tuple[Conclusion, list[Trial]]:
    """Learn the law of a network from short trainings and choose the widths by it.

    Trials that ``setup.folder`` holds are not repeated; one that was stopped goes on.

    Args:
        model: the baseline; it is not changed.
        space: what widths are allowed.
        budget: that of the space; the law is asked about others, too.
        setup: data, protocol, folder, and the proxy that is tried in the model's place, if any.
        settings: how many trainings, and how long.
        seed: initial weights, orders of the data and proposals follow from it.
        proxy: what widths are allowed for the setup's proxy.

    Returns:
        The widths chosen with the law that chose them, and all trials.

    Raises:
        RecipeError: trials are too short.
        TrainingError: training failed already with the baseline's proportions, or losses are not
            positive.
        TrainingInterrupted: a signal asked to stop; finished trials are kept.
        CheckpointError: a record of a trial is damaged.
    """
    if settings.length < SHOWN[settings.schedule]:
        setup.options.say(
            f"warning: trials of {settings.length:g} of the schedule, {settings.schedule}, are "
            f"shorter than what was shown to work ({SHOWN[settings.schedule]:g}; "
            "docs/evidence/trials.md); the widths that learn fast at first may not be the best"
        )
    protocol = shortened(setup.protocol, settings, setup.task.train_size)
    graph = space.limits.graph
    make = maker(model, graph)
    if setup.proxy and proxy:
        make = maker(setup.proxy.network, setup.proxy.graph)
        if is_first():
            for note in Pairing.of(setup.proxy.graph, graph, features_of(settings.count)).notes:
                setup.options.say(note)

    def evaluate(wanted: Sequence[dict[str, int]], number: int) -> list[Trial]:
        first = shared(list(wanted))  # others may have rounded differently
        return run_round(make, first, number, setup, protocol, seed, total=settings.count)

    conclusion, trials = by_trials(space, settings.count, evaluate, seed, budget, proxy)
    if setup.proxy:
        cost = setup.proxy.cost(graph)
        conclusion = replace(conclusion, proxy=settings.proxy, proxy_cost=cost)
    return shared(conclusion), trials


def features_of(count: int) -> int:
    """Return how many features a number of trials can tell apart."""
    return max(2, count // PER_FEATURE)


def maker(model: nn.Module, graph: ChannelGraph) -> Make:
    """Return what makes the network of given widths with fresh weights."""
    return lambda widths, seed: resize(model, graph, widths, seed=seed)


def by_trials(
    space: Space,
    count: int,
    evaluate: Evaluate,
    seed: int,
    budget: Budget | None = None,
    proxy: Space | None = None,
) -> tuple[Conclusion, list[Trial]]:
    """Choose widths from what ``evaluate`` says of ``count`` networks.

    Args:
        space: what widths are allowed.
        count: how many networks are tried.
        evaluate: tries a round of networks.
        seed: which networks are tried follows from it and from their losses.
        budget: that of the space, if the law is to be asked about others, too.
        proxy: what widths are allowed for a smaller network of the family, if the networks tried
            are to be variants of that, and the law to be carried over.

    Raises:
        TrainingError: losses are not positive.
    """
    graph, most = space.limits.graph, features_of(count)
    if proxy is None:
        region = Region(space, gathered(graph, most), space.narrowed())
        law, trials = _learnt(region, count, evaluate, seed)
        return concluded(region, law, budget), trials
    pairing = Pairing.of(proxy.limits.graph, graph, most)
    law, trials = _learnt(Region(proxy, pairing.learnt, proxy.narrowed()), count, evaluate, seed)
    region = Region(space, pairing.features, space.narrowed())
    conclusion = concluded(region, pairing.carried(law), budget)
    origins = tuple(str(origin) for origin in pairing.origins)
    return replace(conclusion, origins=origins), trials


def _learnt(region: Region, count: int, evaluate: Evaluate, seed: int) -> tuple[Law, list[Trial]]:
    """Return the law that ``count`` trials teach, which follow each other in rounds."""
    space = region.space
    trials: list[Trial] = []
    while len(trials) < count:
        size = min(ROUND, count - len(trials))
        generator = np.random.default_rng([seed, len(trials)])
        if trials:
            wanted = _promising(region, _law(region, trials), trials, size, generator)
        else:
            drawn = region.widths(region.drawn(generator, 4 * size))
            wanted = _distinct([region.reference, *drawn], (), size)
        trials += evaluate([_named(space, widths) for widths in wanted], len(trials))
    return _law(region, trials), trials


def _promising(
    region: Region, law: Law, trials: Sequence[Trial], size: int, generator: np.random.Generator
) -> list[IntArray]:
    """Return networks that are best for exponents drawn from what is known of them."""
    drawn: list[IntArray] = []
    tried = [_row(trial) for trial in trials]
    for _ in range(size):
        for _ in range(DRAWS):
            best = region.widths(region.best(_along(law.drawn(generator)))[None])[0]
            if _distinct([best], [*tried, *drawn], 1):
                break
        drawn.append(best)
    return drawn


def _along(exponents: FloatArray) -> Value:
    return lambda moves: moves @ exponents


def _distinct(
    networks: Sequence[IntArray], others: Sequence[IntArray], size: int
) -> list[IntArray]:
    """Return the first networks that differ from each other and from ``others``."""
    known = {tuple(widths) for widths in others}
    found: list[IntArray] = []
    for widths in networks:
        if tuple(widths) not in known and len(found) < size:
            known.add(tuple(widths))
            found.append(widths)
    return found


def _law(region: Region, trials: Sequence[Trial]) -> Law:
    """Return what trials teach; one that failed counts as the worst of all."""
    known = [trial.loss for trial in trials if trial.loss is not None]
    if min(known) <= 0:
        raise TrainingError(
            f"trials learn from the logarithm of the loss, but there is a loss of {min(known):.4g};"
            " leave out shrink.trials for this loss"
        )
    losses = [max(known) if trial.loss is None else trial.loss for trial in trials]
    places = region.moves(np.array([_row(trial) for trial in trials]))
    layers: FloatArray = np.array([float(feature.layers) for feature in region.features])
    return fitted(places, np.array(losses), layers)


def _row(trial: Trial) -> IntArray:
    return np.array(list(trial.widths.values()), dtype=np.int64)


def _named(space: Space, widths: IntArray) -> dict[str, int]:
    return dict(zip(space.limits.graph.widths, widths.tolist(), strict=True))
