"""LW-DNA: widen, score every unit by the gradient of its latent, keep what the budget allows.

Li et al., "The Heterogeneity Hypothesis: Finding Layer-Wise Differentiated Network Architectures",
CVPR 2021 (arXiv 2006.16242).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from lwdna.architecture import Architecture, ModelSource
from lwdna.channels import ChannelGraph, Edits, resize, trace, widened_widths
from lwdna.errors import DataError
from lwdna.inputs import Inputs, call, device_of, plain, size_of, types_of
from lwdna.methods.budget import Limits
from lwdna.methods.criteria import CRITERIA, Loss, Problem, Scores
from lwdna.methods.keep import Kept, best_units, floors, keep_by_threshold
from lwdna.methods.knapsack import keep_by_knapsack
from lwdna.methods.prepare import Trained, check, fresh, keep_rule, warmed
from lwdna.methods.proportional import keep_in_proportion
from lwdna.methods.proposals import Space
from lwdna.methods.settings import Budget, KeepName, ShrinkSettings
from lwdna.methods.trials import Bench, Trial, try_widths
from lwdna.methods.warmup import Course
from lwdna.models import resolve_name

NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "group-mean": Tensor.mean,
    "group-l2": torch.linalg.vector_norm,
}
"""By what the scores of a group are divided. The l2 norm: Molchanov et al., ICLR 2017, equation 8
(arXiv 1611.06440)."""

KEEP_RULES: dict[KeepName, Callable[..., Kept]] = {
    "threshold": keep_by_threshold,
    "knapsack": keep_by_knapsack,
    "knapsack-full": partial(keep_by_knapsack, full=True),
    "proportional": keep_in_proportion,
}
"""How scores decide which units stay."""


@dataclass(frozen=True)
class Search:
    """What a search found, and everything needed to show why."""

    architecture: Architecture
    graph: ChannelGraph
    widened: dict[str, int]
    least: dict[str, int]
    scores: dict[str, Tensor]
    units: dict[str, Tensor]
    """Indices of the units of the widened network that stay, by group, ascending."""
    threshold: float | None
    trials: Sequence[Trial] = ()
    """Short trainings that decided between widths."""
    network: nn.Module | None = None
    """The network found with the weights of its units, where it is to inherit them."""

    def to_json(self) -> dict[str, Any]:
        """Return the record of the search as JSON data: groups with scores, layers, costs."""
        graph, found = self.graph, self.architecture.widths
        stages: dict[str, Mapping[str, int]] = {
            "baseline": graph.widths,
            "widened": self.widened,
            "found": found,
        }
        layers = {stage: graph.layers(widths) for stage, widths in stages.items()}
        return {
            "groups": [
                {
                    "name": group.name,
                    "baseline": group.width,
                    "widened": self.widened[group.name],
                    "found": found[group.name],
                    "floor": self.least[group.name],
                    "scores": [float(f"{score:.6g}") for score in self.scores[group.name]],
                }
                for group in graph.groups
            ],
            "threshold": self.threshold,
            "trials": [asdict(trial) for trial in self.trials],
            "layers": [
                {
                    "name": one.name,
                    "op": one.op,
                    "macs": {stage: layers[stage][i].macs for stage in stages},
                    "params": {stage: layers[stage][i].params for stage in stages},
                }
                for i, one in enumerate(layers["baseline"])
            ],
            "cost": {stage: asdict(graph.cost(widths)) for stage, widths in stages.items()},
            **{key: self.architecture.found[key] for key in ("budget", "criterion")},
        }


def search(
    model: nn.Module,
    example_inputs: Inputs,
    batches: Iterable[Any],
    loss: Loss,
    settings: ShrinkSettings,
    *,
    seed: int = 0,
    source: ModelSource | None = None,
    edits: Edits | None = None,
    trained: Trained | None = None,
    course: Course | None = None,
    bench: Bench | None = None,
) -> Search:
    """Find the widths of a layer-wise differentiated network.

    Args:
        model: the baseline; it is not changed.
        example_inputs: those of one example as the network takes them: one tensor, (1, C, H, W)
            for an image, a tuple of tensors or a dict of tensors by name.
        batches: mini-batches for ``loss``; all of them are used.
        loss: maps a network and a batch to the training loss.
        settings: widening, criterion, floors, budget.
        seed: everything random follows from it.
        source: how to make the baseline again, for the architecture file.
        edits: decisions by hand about the groups; the architecture file carries them.
        trained: the network whose units are scored, where its weights mean something; it is not
            changed. Otherwise ``model`` is widened and gets fresh weights.
        course: data and checkpoints of the warm-up, where the settings ask for one; default: the
            batches, without checkpoints.
        bench: where the settings' trials are made.

    Raises:
        RecipeError: settings that contradict each other, or trials without a bench.
        BudgetError: no widths meet the budget.
        DataError: there are no batches.
        TrainingError: the loss is not finite.
        InputError: the inputs are not tensors.
    """
    batches = list(batches)
    if not batches:
        raise DataError("the search needs at least one batch of training data, got none")
    check(settings, trained, bench)
    example_inputs = plain(example_inputs)
    input_size, input_types = size_of(example_inputs), types_of(example_inputs)
    graph = trace(model, example_inputs, edits)
    widened = (
        graph.complete(trained.widths) if trained else widened_widths(graph, settings.width_mult)
    )
    wide = deepcopy(trained.network) if trained else fresh(model, graph, widened, settings, seed)
    given = (wide, graph, widened, example_inputs, batches, loss, settings, seed)
    scores, weights = _scored(Problem(*given, trained=trained is not None), course)
    del wide, given  # trials need the memory
    least = floors(graph, widened, settings.floor, settings.linear_floor)
    limits = Limits.of(graph, widened, settings.budget, device_of(example_inputs))
    settings = settings.model_copy(update={"keep": keep_rule(settings, trained)})
    kept = _kept(scores, least, limits, settings)
    trials: list[Trial] = []
    if settings.trials and bench:
        space = Space(limits, least, widened, settings.multiple)
        widths, trials = try_widths(model, space, kept.widths, bench, settings.trials, seed)
        kept = Kept(widths, None)
    architecture = Architecture.of(
        graph,
        input_size,
        source,
        kept.widths,
        _found(settings, limits, kept, len(batches), seed),
        input_types,
    )
    units = best_units(scores, kept.widths)
    network = weights and resize(weights, graph.at(widened), units, init="slice", inexact="allow")
    return Search(
        architecture, graph, widened, least, scores, units, kept.threshold, trials, network
    )


def _scored(problem: Problem, course: Course | None) -> tuple[Scores, nn.Module | None]:
    """Return the scores of all units, and the widened network whose weights are to be inherited."""
    settings, whole = problem.settings, None
    if settings.warmup:
        problem, whole = warmed(problem, settings.warmup, course)
    weights = deepcopy(problem.wide) if settings.inherit and whole is None else None
    scores = _comparable(CRITERIA[settings.criterion].score(problem), settings)
    if settings.inherit and whole:
        weights = whole.bake()
    return scores, weights


def _kept(
    scores: Scores, least: Mapping[str, int], limits: Limits, settings: ShrinkSettings
) -> Kept:
    """Return the widths that the recipe's keep rule makes of scores."""
    assert settings.keep
    own = ("prior", "bend") if settings.keep == "proportional" else ()
    options = {name: getattr(settings, name) for name in own}
    rule = KEEP_RULES[settings.keep]
    return rule(limits.graph, scores, least, limits, settings.multiple, **options)


def _comparable(scores: Scores, settings: ShrinkSettings) -> Scores:
    """Return scores that one threshold may compare across groups."""
    if settings.normalize != "none":
        size = NORMS[settings.normalize]
        scores = {name: s / size(s).clamp_min(1e-30) for name, s in scores.items()}
    return {name: -s for name, s in scores.items()} if settings.reverse else scores


def shrink(
    model_or_name: nn.Module | str,
    example_inputs: Inputs,
    batches: Iterable[tuple[Inputs, Any]],
    loss_fn: Any,
    budget: Budget | None = None,
    *,
    seed: int = 0,
    model_args: Mapping[str, Any] | None = None,
    edits: Edits | None = None,
    **options: Any,
) -> Architecture:
    """Find a better architecture for a network and a data set.

    Args:
        model_or_name: a network, or a name such as ``"timm:resnet50"``.
        example_inputs: those of one example as the network takes them: one tensor, (1, C, H, W)
            for an image, a tuple of tensors or a dict of tensors by name.
        batches: pairs ``(inputs, targets)`` with inputs of the same form; two mini-batches are
            enough.
        loss_fn: ``loss_fn(outputs, targets)``, for example ``torch.nn.CrossEntropyLoss()``.
        budget: default 0.92 of the baseline's MACs and no more than its parameters.
        seed: everything random follows from it.
        model_args: arguments for a name.
        edits: decisions by hand about the groups: what to pin, tie or cut.
        options: further fields of :class:`lwdna.methods.ShrinkSettings`, such as ``width_mult``.

    Raises:
        BudgetError: no widths meet the budget.
        ModelError: there is no network of that name.
        InputError: the inputs are not tensors.

    Example:
        >>> arch = lwdna.shrink(model, images[:1], [(images, labels)], nn.CrossEntropyLoss())
        >>> arch.save("better.lwdna.json")
    """
    if budget is not None:
        options["budget"] = budget
    settings = ShrinkSettings(**options)
    source = None
    if isinstance(model_or_name, str):
        source = ModelSource(name=resolve_name(model_or_name), args=dict(model_args or {}))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = source.create()
    else:
        model = model_or_name

    def loss(network: nn.Module, batch: tuple[Inputs, Any]) -> Tensor:
        inputs, targets = batch
        result: Tensor = loss_fn(call(network, inputs), targets)
        return result

    given = [(plain(inputs), targets) for inputs, targets in batches]
    found = search(
        model, example_inputs, given, loss, settings, seed=seed, source=source, edits=edits
    )
    return found.architecture


def _found(
    settings: ShrinkSettings, limits: Limits, kept: Kept, batches: int, seed: int
) -> dict[str, Any]:
    """Return how an architecture was found; only what a budget of latency measures may change."""
    baseline, found = limits.usage_of(), limits.usage_of(kept.widths)
    return {
        "method": "lwdna",
        "usage": {
            name: {"baseline": baseline[name], "allowed": allowed, "found": found[name]}
            for name, allowed in limits.allowed.items()
        },
        **settings.model_dump(mode="json", exclude={"batches", "hypernetwork"}),
        "batches": batches,
        "threshold": None if kept.threshold is None else float(f"{kept.threshold:.9g}"),
        "seed": seed,
        "versions": {name: version(name) for name in ("lwdna", "torch", "timm")},
    }
