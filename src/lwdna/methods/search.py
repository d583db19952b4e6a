"""LW-DNA: widen, score every unit by the gradient of its latent, keep what the budget allows.

Li et al., "The Heterogeneity Hypothesis: Finding Layer-Wise Differentiated Network Architectures",
CVPR 2021 (arXiv 2006.16242).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from lwdna.architecture import Architecture
from lwdna.channels import ChannelGraph, Edits, resize, widen_exactly, widened_widths
from lwdna.errors import DataError, GraphError, ModelError, RecipeError
from lwdna.inputs import Inputs, device_of, plain, size_of, types_of
from lwdna.methods.budget import Budget
from lwdna.methods.criteria import CRITERIA, Loss, Problem, Scores
from lwdna.methods.keep.table import Kept
from lwdna.methods.keep.units import best_before_copies, best_units
from lwdna.methods.limits import Limits
from lwdna.methods.objective import loss_of
from lwdna.methods.prepare import Trained, check, fresh, judged_alone, keep_choice
from lwdna.methods.scoring import kept_by, scored
from lwdna.methods.settings import ShrinkSettings
from lwdna.methods.space import Space
from lwdna.methods.trials.conclusion import Conclusion
from lwdna.methods.trials.rounds import try_widths
from lwdna.methods.trials.runs import Trial, TrialSetup
from lwdna.methods.warmup import WarmedUp, WarmupRun
from lwdna.model_source import ModelSource, traced
from lwdna.models import resolve_name
from lwdna.transforms.rewrite import Entry, transforms_of


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
    law: Conclusion | None = None
    """What they teach."""
    network: nn.Module | None = None
    """The network found with the weights of its units, where it is to inherit them."""
    warmup: WarmedUp | None = None
    """What the training before the scores came to."""

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
            "trials": [
                {"widths": one.widths, "loss": one.loss, "seconds": one.seconds}
                for one in self.trials
            ],
            **({"law": self.law.to_json()} if self.law else {}),
            **({"warmup": self.warmup.to_json()} if self.warmup else {}),
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
    graph: ChannelGraph | None = None,
    trained: Trained | None = None,
    warmup_run: WarmupRun | None = None,
    trial_setup: TrialSetup | None = None,
) -> Search:
    """Find the widths of a layer-wise differentiated network.

    Args:
        model: the baseline, which is not changed; of no use with both ``graph`` and ``trained``.
        example_inputs: of one example: a tensor, (1, C, H, W) for an image, or a tuple or dict.
        batches: mini-batches for ``loss``; all of them are used.
        loss: maps a network and a batch to the training loss.
        settings: widening, criterion, floors, budget.
        seed: everything random follows from it.
        source: how to make the baseline again, for the architecture file.
        edits: decisions by hand about the groups; the architecture file carries them.
        graph: the baseline's channel graph with these edits, if it is known.
        trained: the network whose units are scored, where its weights mean something; if it has a
            ``start``, it is widened by copies. Otherwise ``model`` is, with fresh weights.
        warmup_run: data and checkpoints of the warm-up; default: the batches, no checkpoints.
        trial_setup: how and where the settings' trials are made.

    Raises:
        RecipeError: contradicting settings, no setup for trials, or copies that change a network.
        BudgetError: no widths meet the budget.
        DataError: there are no batches.
        TrainingError: the loss is not finite.
        InputError: the inputs are not tensors.
    """
    if not (batches := list(batches)):
        raise DataError("the search needs at least one batch of training data, got none")
    check(settings, trained, trial_setup)
    example_inputs = plain(example_inputs)
    size, types = size_of(example_inputs), types_of(example_inputs)
    graph = graph or traced(model, example_inputs, edits, source)
    problem = _posed(model, graph, example_inputs, batches, loss, settings, seed, trained)
    widened = dict(problem.widths)
    scores, weights, warmup = scored(problem, warmup_run)
    del problem  # trials need the memory
    space = Space.of(graph, widened, settings, device_of(example_inputs))
    keep = keep_choice(settings, judged_alone(settings, trained))
    settings = settings.model_copy(update={"keep": keep})
    kept, law, trials = _kept(model, scores, space, settings, trial_setup, seed)
    found = _found(settings, space.limits, kept, law, len(batches), seed, trained)
    architecture = Architecture.of(graph, size, source, kept.widths, found, types)
    start = trained if trained and trained.start and not settings.warmup else None
    units, network = _with_weights(start, weights, graph, widened, scores, kept.widths, seed)
    why = widened, dict(space.least), scores, units, kept.threshold
    return Search(architecture, graph, *why, trials, law, network, warmup)


def _posed(
    model: nn.Module,
    graph: ChannelGraph,
    example_inputs: Inputs,
    batches: Sequence[Any],
    loss: Loss,
    settings: ShrinkSettings,
    seed: int,
    trained: Trained | None,
) -> Problem:
    """Return the widened network, fresh or trained, with what its units are scored by."""
    if trained:
        widened, wide = graph.complete(trained.widths), trained.network
        if trained.start and settings.width_mult != 1:
            widened = widened_widths(graph, settings.width_mult)
            wide = _widened(wide, graph, widened, example_inputs, seed)
        elif settings.warmup or not CRITERIA[settings.criterion].keeps_weights:
            wide = deepcopy(wide)
    else:
        widened = widened_widths(graph, settings.width_mult)
        wide = fresh(model, graph, widened, settings, seed)
    given = (wide, graph, widened, example_inputs, batches, loss, settings, seed)
    return Problem(*given, trained=trained is not None)


def _widened(
    model: nn.Module,
    graph: ChannelGraph,
    widened: Mapping[str, int],
    example_inputs: Inputs,
    seed: int,
) -> nn.Module:
    """Return a pretrained network widened by copies of its units.

    Raises:
        RecipeError: that would change what it computes.
    """
    try:
        return widen_exactly(model, graph, widened, example_inputs, seed)
    except GraphError as error:
        raise RecipeError(
            f"this pretrained network cannot be widened for the search: {error}; set "
            "shrink.width_mult=1 and a budget below the baseline (shrink.budget='{macs: 0.8}'), or "
            "factors by groups that leave these out (shrink.width_mult='{layer1*: 2}')"
        ) from error


def _with_weights(
    pretrained: Trained | None,
    weights: nn.Module | None,
    graph: ChannelGraph,
    widened: Mapping[str, int],
    scores: Scores,
    widths: Mapping[str, int],
    seed: int,
) -> tuple[dict[str, Tensor], nn.Module | None]:
    """Return units of the widened network that stay, and the network that consists of them.

    A slice of the widened network's ``weights``, if they are inherited. A pretrained network's own
    units come before copies, and what reads a unit is divided among the copies that stay.
    """
    if pretrained is None:
        units = best_units(scores, widths)
        wide = graph.at(widened)
        return units, weights and resize(weights, wide, units, init="slice", inexact="allow")
    units = best_before_copies(scores, widths, graph.widths)
    origins = {name: kept % graph.widths[name] for name, kept in units.items()}
    given = pretrained.network, graph, origins
    return units, resize(*given, init="duplicate", seed=seed, inexact="allow")


def _kept(
    model: nn.Module,
    scores: Scores,
    space: Space,
    settings: ShrinkSettings,
    setup: TrialSetup | None,
    seed: int,
) -> tuple[Kept, Conclusion | None, list[Trial]]:
    """Return the widths that the keep rule makes of scores, or those that trials choose."""
    assert settings.keep
    kept = kept_by(settings.keep, scores, space)
    if not (settings.trials and setup):
        return kept, None, []
    proxy = None
    if setup.proxy:
        widened = widened_widths(setup.proxy.graph, settings.width_mult)
        proxy = Space.of(setup.proxy.graph, widened, settings, space.limits.device)
        proxy.limits.check_reachable(proxy.most, proxy.least)
    given = (settings.budget, setup, settings.trials, seed, proxy)
    law, trials = try_widths(model, space, *given)
    return Kept(law.widths, None), law, trials


def shrink(
    model_or_name: nn.Module | str,
    example_inputs: Inputs,
    batches: Iterable[tuple[Inputs, Any]],
    loss_fn: Any,
    budget: Budget | None = None,
    *,
    seed: int = 0,
    model_args: Mapping[str, Any] | None = None,
    transforms: Sequence[Entry] = (),
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
        budget: default the baseline's MACs and 1.5 times its parameters at most.
        seed: everything random follows from it.
        model_args: arguments for a name.
        transforms: rewrites of the network of a name, as ``[{"name": "factorize"}]``.
        edits: decisions by hand about the groups: what to pin, tie or cut.
        options: further fields of :class:`lwdna.methods.ShrinkSettings`, such as ``width_mult``.

    Raises:
        BudgetError: no widths meet the budget.
        ModelError: there is no network of that name, or transforms cannot be applied or recorded.
        InputError: the inputs are not tensors.

    Example:
        >>> arch = lwdna.shrink(model, images[:1], [(images, labels)], nn.CrossEntropyLoss())
        >>> arch.save("better.lwdna.json")
    """
    if budget is not None:
        options["budget"] = budget
    settings = ShrinkSettings(**options)
    model, source = _made(model_or_name, model_args, transforms, seed)

    given = [(plain(inputs), targets) for inputs, targets in batches]
    found = search(
        model,
        example_inputs,
        given,
        loss_of(loss_fn),
        settings,
        seed=seed,
        source=source,
        edits=edits,
    )
    return found.architecture


def _made(
    given: nn.Module | str,
    args: Mapping[str, Any] | None,
    transforms: Sequence[Entry],
    seed: int,
) -> tuple[nn.Module, ModelSource | None]:
    """Return the network given, or that of a name and how it was made."""
    if isinstance(given, str):
        source = ModelSource(
            name=resolve_name(given), args=dict(args or {}), transforms=transforms_of(transforms)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return source.create(), source
    if transforms:
        raise ModelError(
            "transforms are recorded with a network's name, but the network was given as an "
            "object; rewrite it first (lwdna.factorize, lwdna.transforms.rewrite), or give a name"
        )
    return given, None


def _found(
    settings: ShrinkSettings,
    limits: Limits,
    kept: Kept,
    law: Conclusion | None,
    batches: int,
    seed: int,
    trained: Trained | None,
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
        **({"law": law.summary()} if law else {}),
        **({"pretrained": trained.start} if trained and trained.start else {}),
        "threshold": None if kept.threshold is None else float(f"{kept.threshold:.9g}"),
        "seed": seed,
        "versions": {name: version(name) for name in ("lwdna", "torch", "timm")},
    }
