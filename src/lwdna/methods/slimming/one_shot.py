"""One step of slimming: score the units of a trained network, and keep those worth their cost.

The cost and the floors refer to the dense network, of which a network that was sliced before is a
part; so steps with training between them are iterative pruning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from lwdna.architecture import Architecture, CostRecord
from lwdna.channels import ChannelGraph, Cost, Edits, resize
from lwdna.engine.recalibrate import recalibrate
from lwdna.errors import DataError
from lwdna.inputs import Inputs, device_of, plain, size_of, types_of
from lwdna.methods.budget import Budget
from lwdna.methods.criteria import Loss, Problem, Scores
from lwdna.methods.grid import multiples_of
from lwdna.methods.keep.table import Kept
from lwdna.methods.keep.units import best_units
from lwdna.methods.limits import Limits
from lwdna.methods.objective import loss_of
from lwdna.methods.prepare import Trained, check, keep_choice
from lwdna.methods.scoring import kept_by, scored
from lwdna.methods.slimming.bounds import Bounds
from lwdna.methods.slimming.settings import SlimSettings
from lwdna.methods.space import Space
from lwdna.methods.warmup import WarmupRun
from lwdna.model_source import ModelSource, traced


@dataclass(frozen=True)
class Slimmed:
    """A network that is part of a dense one."""

    network: nn.Module
    """Train it in place as you like before the next step."""
    architecture: Architecture
    graph: ChannelGraph
    """The channel graph of the dense network, at its widths."""
    units: Mapping[str, Tensor]
    """Indices of the dense network's units that are left, by group, ascending."""
    scores: Mapping[str, Tensor]
    """Of the units that the network had before the last step, by group; larger is better."""

    @classmethod
    def dense(
        cls,
        trained: Trained,
        example_inputs: Inputs,
        source: ModelSource | None = None,
        edits: Edits | None = None,
        baseline: nn.Module | None = None,
    ) -> Slimmed:
        """Return a dense network as one of which nothing has been removed.

        Args:
            trained: the network, and its widths where they are not those of a baseline.
            example_inputs: of one example.
            source: how to make the baseline, for the architecture file.
            edits: decisions by hand about the groups.
            baseline: a network of the baseline's widths, where ``trained`` has others.
        """
        given = plain(example_inputs)
        graph = traced(baseline or trained.network, given, edits, source)
        widths = graph.complete(trained.widths)
        size, types = size_of(given), types_of(given)
        architecture = Architecture.of(graph, size, source, widths, input_types=types)
        whole = {name: torch.arange(n) for name, n in widths.items()}
        return cls(trained.network, architecture, graph.at(widths), whole, {})

    @property
    def widths(self) -> dict[str, int]:
        """Units left by group."""
        return dict(self.architecture.widths)

    @property
    def before(self) -> Cost:
        """What the dense network costs."""
        return self.graph.cost()

    @property
    def after(self) -> Cost:
        """What is left of that."""
        return self.graph.cost(self.widths)


def slim(
    model: nn.Module | Slimmed,
    batches: Iterable[tuple[Inputs, Any]],
    loss_fn: Any,
    budget: Budget | None = None,
    *,
    example_inputs: Inputs | None = None,
    seed: int = 0,
    source: ModelSource | None = None,
    edits: Edits | None = None,
    **options: Any,
) -> Slimmed:
    """Make a trained network smaller; fine-tune the result with a loop of your own.

    Args:
        model: the trained network, which is not changed; or what this function returned, whose
            network may have been trained since: budget, floor and ratios then still refer to the
            dense network of the first call.
        batches: pairs ``(inputs, targets)`` of training data, on the network's device. Units are
            scored by all of them, and running statistics taken anew from the first
            ``recalibrate``.
        loss_fn: ``loss_fn(outputs, targets)``, for example ``torch.nn.CrossEntropyLoss()``.
        budget: what may be left, as fractions of the dense network; default: half its MACs.
        example_inputs: of one example as the network takes them; default: the first of the batches.
        seed: everything random follows from it.
        source: how to make the network by its name, so that files of the result can be loaded
            without it.
        edits: decisions by hand about the groups: what to pin, tie or cut. Of the first call.
        options: further fields of :class:`lwdna.methods.slimming.SlimSettings` that one step has:
            ``criterion``, ``keep``, ``floor``, ``ratios``, ``protect``, ``multiple``,
            ``normalize``, ``recalibrate``, ``warmup``.

    Raises:
        BudgetError: floors, ratios and protected groups forbid the budget, and which groups do; or
            nothing would be removed.
        RecipeError: a pattern matches no group, or settings contradict each other.
        DataError: there are no batches.
        TrainingError: loss, scores or statistics are not finite.

    Example:
        >>> slimmed = lwdna.slim(model, batches, nn.CrossEntropyLoss(), lwdna.Budget(macs=0.5))
        >>> train(slimmed.network)
    """
    if budget is not None:
        options["budget"] = budget
    settings = SlimSettings(**options)
    given = [(plain(inputs), targets) for inputs, targets in batches]
    if not given:
        raise DataError("slimming needs at least one batch of training data, got none")
    if example_inputs is None:
        example_inputs = tree_map_only(Tensor, lambda tensor: tensor[:1], given[0][0])
    if not isinstance(model, Slimmed):
        model = Slimmed.dense(Trained(model), example_inputs, source, edits)

    found = slice_off(model, example_inputs, given, loss_of(loss_fn), settings, seed=seed)
    if settings.recalibrate:
        recalibrate(found.network, (inputs for inputs, _ in given[: settings.recalibrate]))
    return found


def slice_off(
    given: Slimmed,
    example_inputs: Inputs,
    batches: Sequence[Any],
    loss: Loss,
    settings: SlimSettings,
    *,
    seed: int = 0,
    warmup_run: WarmupRun | None = None,
) -> Slimmed:
    """Remove units of a network until it meets the budget; statistics stay as they are.

    Args:
        given: the network, which is not changed.
        example_inputs: of one example.
        batches: mini-batches for ``loss``; all of them are used.
        loss: maps a network and a batch to the training loss.
        settings: budget, criterion, floors.
        seed: everything random follows from it.
        warmup_run: data and checkpoints of the sparse training; default: the batches.

    Raises:
        BudgetError: floors, ratios and protected groups forbid the budget, or nothing would be
            removed.
        RecipeError: a pattern matches no group, or settings contradict each other.
        TrainingError: the loss or a score is not finite.
    """
    search = settings.as_search()
    own = Trained(given.network, given.widths)
    check(search, own, None)
    graph = given.graph
    bounds, limits = _allowed(given, example_inputs, settings)
    settled = bounds.leave_nothing_to_choose(limits, given.widths)
    told = (graph, given.widths, plain(example_inputs), batches, loss, search, seed)

    def kept_of(scores: Scores) -> Kept:
        if settled:
            return Kept(bounds.most, None)
        steps = multiples_of(settings.multiple, limits, bounds.least, bounds.most)
        space = Space(limits, bounds.least, bounds.most, steps)
        return kept_by(keep_choice(search, trained=True), _best(scores, bounds.most), space)

    problem = Problem(deepcopy(given.network), *told, trained=True)
    scores, weights, _ = scored(problem, warmup_run, lambda scores: kept_of(scores).widths)
    assert weights is not None
    kept = kept_of(scores)
    units = best_units(scores, kept.widths)
    network = resize(weights, graph.at(given.widths), units, init="slice", inexact="allow")
    architecture = given.architecture.model_copy(
        update={
            "widths": kept.widths,
            "cost": CostRecord(**asdict(graph.cost(kept.widths))),
            "found": _found(settings, limits, kept, len(batches), seed),
        }
    )
    left = {name: given.units[name][chosen] for name, chosen in units.items()}
    return replace(given, network=network, architecture=architecture, units=left, scores=scores)


def check_budget(given: Slimmed, example_inputs: Inputs, settings: SlimSettings) -> None:
    """Make sure that a budget can be met, before anything takes time.

    Raises:
        BudgetError: floors, ratios and protected groups forbid it, or nothing would be removed.
        RecipeError: a pattern matches no group, or settings contradict each other.
    """
    check(settings.as_search(), Trained(given.network, given.widths), None)
    bounds, limits = _allowed(given, example_inputs, settings)
    bounds.leave_nothing_to_choose(limits, given.widths)


def _allowed(
    given: Slimmed, example_inputs: Inputs, settings: SlimSettings
) -> tuple[Bounds, Limits]:
    """Return what a step may leave of each group, and what the network may cost."""
    bounds = Bounds.of(given.graph, given.widths, settings)
    device = device_of(example_inputs)
    return bounds, Limits.of(given.graph, given.graph.widths, settings.budget, device)


def _best(scores: Scores, most: Mapping[str, int]) -> Scores:
    """Return the scores of each group's best units, so that a keep rule can keep no more."""
    return {
        name: values.sort(descending=True, stable=True).values[: most[name]]
        for name, values in scores.items()
    }


def _found(
    settings: SlimSettings,
    limits: Limits,
    kept: Kept,
    batches: int,
    seed: int,
) -> dict[str, Any]:
    """Return how a slim network was found; only what a budget of latency measures may change."""
    dense, found = limits.usage_of(), limits.usage_of(kept.widths)
    one_step = {"batches", "schedule", "tune", "distill"}
    return {
        "method": "slim",
        "usage": {
            name: {"baseline": dense[name], "allowed": allowed, "found": found[name]}
            for name, allowed in limits.allowed.items()
        },
        **settings.model_dump(mode="json", exclude=one_step),
        "batches": batches,
        "threshold": None if kept.threshold is None else float(f"{kept.threshold:.9g}"),
        "seed": seed,
        "versions": {name: version(name) for name in ("lwdna", "torch", "timm")},
    }
