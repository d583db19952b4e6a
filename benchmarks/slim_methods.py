"""The methods that ``slim.py`` compares: variants of our search, and those of Torch-Pruning.

Both get a trained network and return it with the units that stay, at the MACs wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lwdna.architecture import traced
from lwdna.channels import ChannelGraph, resize
from lwdna.methods.budget import Budget
from lwdna.methods.criteria import CRITERIA, Problem
from lwdna.methods.grid import multiples_of
from lwdna.methods.keep.table import chosen
from lwdna.methods.keep.units import best_units, floors
from lwdna.methods.limits import Limits
from lwdna.methods.settings import ShrinkSettings
from slim_training import CLASSES, Data, Schedule, batches_of, train

Tune = Callable[[nn.Module, tuple[float, float]], None]
"""Trains a network over a part of the tuning's steps."""

OURS: dict[str, dict[str, Any]] = {
    "snip": {},
    "snip/floor.1": {"floor": 0.1},
    "snip/floor.05": {"floor": 0.05},
    "snip/floor.4": {"floor": 0.4},
    "snip/batches10": {"batches": 10},
    "snip/any-width": {"multiple": 1},
    "snip/any-width/floor.1": {"multiple": 1, "floor": 0.1},
    "snip/group-mean": {"normalize": "group-mean"},
    "snip/full": {"keep": "knapsack-full"},
    "snip/threshold": {"keep": "threshold"},
    "snip/proportional": {"keep": "proportional"},
    "snip/rounds3": {"rounds": 3},
    "snip/rounds5": {"rounds": 5},
    "snip/rounds5/floor.1": {"rounds": 5, "floor": 0.1},
    "snip/rounds10": {"rounds": 10},
    "snip/rounds5/long": {"rounds": 5, "share": 0.6},
    "fisher": {"criterion": "fisher"},
    "fisher/batches10": {"criterion": "fisher", "batches": 10},
    "fisher/floor.1": {"criterion": "fisher", "floor": 0.1},
    "fisher/batches10/floor.1": {"criterion": "fisher", "batches": 10, "floor": 0.1},
    "fisher/rounds5": {"criterion": "fisher", "batches": 10, "rounds": 5, "floor": 0.1},
    "fisher/threshold": {"criterion": "fisher", "keep": "threshold", "batches": 10},
    "taylor/batches10": {"criterion": "taylor", "batches": 10},
    "weight-norm": {"criterion": "weight-norm"},
    "weight-norm/floor.1": {"criterion": "weight-norm", "floor": 0.1},
    "weight-norm/rounds5": {"criterion": "weight-norm", "rounds": 5},
    "uniform": {"criterion": "uniform"},
}
"""What differs from :data:`DEFAULTS`."""
DEFAULTS: dict[str, Any] = {
    "criterion": "snip",
    "keep": "knapsack",
    "floor": 0.25,
    "linear_floor": None,
    "multiple": "auto",
    "normalize": "none",
    "batches": 2,
    "batch_size": 128,
    "rounds": 1,
    "share": 0.3,
}
"""``rounds`` steps of pruning lie in the first ``share`` of the tuning; floors are always those of
the dense network. ``linear_floor`` None is ``floor``."""


@dataclass(frozen=True)
class Given:
    """What a method gets."""

    dense: nn.Module
    data: Data
    fraction: float
    """Of the dense network's MACs."""
    seed: int
    tune: Tune
    sparse: Schedule
    """The extra training of methods that need a sparse network."""


def ours(given: Given, name: str) -> tuple[nn.Module, float, dict[str, Any]]:
    """Return the slim network, the part of the tuning that is done, and facts worth noting."""
    options = {**DEFAULTS, **OURS[name]}
    side, device = given.data.side, given.data.train.device
    example = torch.zeros(1, 3, side, side, device=device)
    graph = traced(deepcopy(given.dense).eval(), example)
    network, widths, done = deepcopy(given.dense), dict(graph.widths), 0.0
    rounds = options["rounds"]
    for number in range(1, rounds + 1):
        if number > 1:
            until = options["share"] * (number - 1) / (rounds - 1)
            given.tune(network, (done, until))
            done = until
        fraction = given.fraction ** (number / rounds)
        network, widths = one_round(given, graph, network, widths, fraction, options)
    return network, done, {"widths": widths}


def one_round(
    given: Given,
    graph: ChannelGraph,
    network: nn.Module,
    widths: Mapping[str, int],
    fraction: float,
    options: Mapping[str, Any],
) -> tuple[nn.Module, dict[str, int]]:
    """Score a network's units and return it with those that a budget allows, and its widths."""
    side, device = given.data.side, given.data.train.device
    linear_floor = options["floor"] if options["linear_floor"] is None else options["linear_floor"]
    settings = ShrinkSettings(
        width_mult=1,
        budget=Budget(macs=fraction),
        **{key: options[key] for key in ("criterion", "keep", "floor", "multiple")},
        linear_floor=linear_floor,
    )
    least = floors(graph, graph.widths, settings.floor, settings.linear_floor)
    least = {name: min(least[name], widths[name]) for name in least}
    example = torch.zeros(1, 3, side, side, device=device)
    batches = batches_of(given.data, options["batches"], options["batch_size"], given.seed)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    wide = deepcopy(network)
    problem = Problem(
        wide, graph, widths, example, batches, loss, settings, given.seed, trained=True
    )
    scores = CRITERIA[settings.criterion].score(problem)
    scores = {key: value.detach().cpu() for key, value in scores.items()}
    if options["normalize"] == "group-mean":
        scores = {key: value / value.mean().clamp_min(1e-30) for key, value in scores.items()}
    keep = options["keep"]
    if CRITERIA[settings.criterion].ranks:
        keep = "threshold"
    budget = settings.budget
    if keep == "knapsack-full":
        budget = Budget(macs=fraction, params=fraction)
    limits = Limits.of(graph, graph.widths, budget)
    steps = multiples_of(settings.multiple, limits, least, widths)
    _, rule, extra = chosen(keep)
    kept = rule.keep(graph, scores, least, limits, steps, **extra)
    units = best_units(scores, kept.widths)
    small = resize(network, graph.at(widths), units, init="slice", inexact="allow")
    return small.to(device), dict(kept.widths)


@dataclass(frozen=True)
class Theirs:
    """A method of Torch-Pruning 1.6.1, with the settings of its ``reproduce/main.py``."""

    importance: str = "GroupMagnitudeImportance"
    options: tuple[tuple[str, Any], ...] = ()
    scope: str = "global"
    """``global``, ``local`` or ``isomorphic``."""
    most: float = 0.75
    """max_pruning_ratio; its default is 1."""
    reads: str = ""
    """``gradient`` or ``hessian``, of ten batches of 64."""
    sparse: str = ""
    """The pruner that regularises the extra training."""
    sparse_options: tuple[tuple[str, float], ...] = ()


_MAX = (("normalizer", "max"),)
THEIRS = {
    "magnitude": Theirs(),
    "magnitude/most1": Theirs(most=1.0),
    "magnitude/most.9": Theirs(most=0.9),
    "magnitude/local": Theirs(scope="local"),
    "magnitude/isomorphic": Theirs(scope="isomorphic"),
    "magnitude-max": Theirs(options=_MAX),
    "l1": Theirs(options=(("p", 1),)),
    "lamp": Theirs("LAMPImportance"),
    "fpgm": Theirs("FPGMImportance"),
    "taylor": Theirs("GroupTaylorImportance", reads="gradient"),
    "taylor/most1": Theirs("GroupTaylorImportance", reads="gradient", most=1.0),
    "taylor/isomorphic": Theirs("GroupTaylorImportance", reads="gradient", scope="isomorphic"),
    "taylor/local": Theirs("GroupTaylorImportance", reads="gradient", scope="local"),
    "hessian": Theirs("GroupHessianImportance", reads="hessian"),
    "hessian/most1": Theirs("GroupHessianImportance", reads="hessian", most=1.0),
    "hessian/isomorphic": Theirs("GroupHessianImportance", reads="hessian", scope="isomorphic"),
    "sparse-norm": Theirs(options=_MAX, sparse="GroupNormPruner", sparse_options=(("reg", 5e-4),)),
    "greg": Theirs(sparse="GrowingRegPruner", sparse_options=(("reg", 1e-4), ("delta_reg", 1e-5))),
    "slimming": Theirs(
        "BNScaleImportance", sparse="BNScalePruner", sparse_options=(("reg", 1e-5),)
    ),
}
STEPS = 400
"""Its steps from all channels to none."""
COARSE = 8
"""How many of them are taken at once while the MACs are far away."""
REFRESH = 4
"""After how many of them gradients are computed anew."""


def theirs(given: Given, name: str) -> tuple[nn.Module, float, dict[str, Any]]:
    """The same by Torch-Pruning: steps until the MACs are met, then the nearer of the last two."""
    import torch_pruning

    method = THEIRS[name]
    importance = getattr(torch_pruning.importance, method.importance)(**dict(method.options))
    network = deepcopy(given.dense)
    device = given.data.train.device
    if method.sparse:
        kind = getattr(torch_pruning.pruner, method.sparse)
        pruner = kind(
            network, importance=importance, **dict(method.sparse_options), **common(network, given)
        )
        growing = getattr(pruner, "update_reg", None)
        network.to(device)
        train(
            network,
            given.data,
            replace(given.sparse, weight_decay=0.0),
            given.seed,
            after_backward=lambda: pruner.regularize(network),
            after_epoch=growing,
        )
        del pruner
    network.cpu().eval()
    pruner = torch_pruning.pruner.BasePruner(
        network,
        importance=importance,
        pruning_ratio=1.0,
        iterative_steps=STEPS,
        max_pruning_ratio=method.most,
        global_pruning=method.scope != "local",
        isomorphic=method.scope == "isomorphic",
        **common(network, given),
    )

    def refresh() -> None:
        if method.reads:
            set_gradients(network, given, method.reads)

    found, steps = narrowed(pruner, network, given, refresh)
    for p in found.parameters():
        p.grad = None
    return found.to(device), 0.0, {"steps": steps}


def narrowed(
    pruner: Any, network: nn.Module, given: Given, refresh: Callable[[], None]
) -> tuple[nn.Module, int]:
    """Take a pruner's steps until the MACs are met, group by group within a step.

    Returns:
        The network before or after the last group, whichever is nearer to the MACs; and the steps.
    """
    positions = positions_of(network, given.data.side)
    target = given.fraction * macs_by(positions)
    now, previous = macs_by(positions), None
    taken = 0
    while pruner.current_step < STEPS:
        if taken % REFRESH == 0:
            refresh()
        if now > 1.08 * target:  # far away, several steps at once
            pruner.current_step = min(pruner.current_step + COARSE, STEPS) - 1
        taken += 1
        for group in pruner.step(interactive=True):
            before = now
            if before < 1.2 * target:
                previous = deepcopy(network)
            group.prune()
            now = macs_by(positions)
            if now <= target:
                nearer = previous is not None and before - target < target - now
                return (previous if nearer else network), taken
    return network, taken


def common(network: nn.Module, given: Given) -> dict[str, Any]:
    """Return arguments for its pruners; dictionaries because its defaults are shared."""
    device = next(network.parameters()).device
    side = given.data.side
    ignored = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert all(layer.out_features == CLASSES for layer in ignored)
    return {
        "example_inputs": torch.zeros(1, 3, side, side, device=device),
        "ignored_layers": ignored,
        "in_channel_groups": {},
        "out_channel_groups": {},
    }


def set_gradients(network: nn.Module, given: Given, kind: str) -> None:
    """Leave mean gradients in a network on the CPU or, for ``hessian``, means of squared ones.

    Squares are summed over examples one by one, as its documentation says; its own
    ``accumulate_grad`` keeps those of the last example only, because it looks parameters up by
    name among parameters.
    """
    network.to(given.data.train.device)
    network.zero_grad(set_to_none=True)
    batches = batches_of(given.data, 10, 64, given.seed)
    if kind == "gradient":
        for images, classes in batches:
            (F.cross_entropy(network(images), classes) / len(batches)).backward()
    else:
        for name, square in squared_gradients(network, batches[:2]).items():
            network.get_parameter(name).grad = square
    network.cpu()


def squared_gradients(
    network: nn.Module, batches: list[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """Return the mean over examples of each parameter's squared gradient."""
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    buffers = dict(network.named_buffers())

    def loss(values: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = torch.func.functional_call(network, (values, buffers), (image[None],))
        return F.cross_entropy(logits, label[None])

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    count = 0
    for images, classes in batches:
        count += len(images)
        for some, labels in zip(images.split(32), classes.split(32), strict=True):
            for name, gradient in each(parameters, some, labels).items():
                sums[name] += gradient.square().sum(0)
    return {name: one / count for name, one in sums.items()}


@torch.no_grad()
def positions_of(network: nn.Module, side: int) -> dict[nn.Module, int]:
    """Return for every layer how often its weight is applied to one image."""
    found: dict[nn.Module, int] = {}

    def note(layer: nn.Module, _: Any, output: Tensor) -> None:
        found[layer] = output[0, 0].numel() if output.ndim == 4 else 1

    handles = [
        layer.register_forward_hook(note)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    network(torch.zeros(1, 3, side, side, device=next(network.parameters()).device))
    for handle in handles:
        handle.remove()
    return found


def macs_by(positions: Mapping[nn.Module, int]) -> int:
    """Return multiply-accumulates for one image, from the sizes that weights have now."""
    return sum(layer.weight.numel() * count for layer, count in positions.items())
