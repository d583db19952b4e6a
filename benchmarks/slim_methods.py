"""The methods that ``slim.py`` compares: ``lwdna.slim``, and those of Torch-Pruning.

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

import lwdna
from lwdna import Budget
from lwdna.methods.slimming import Slimmed
from slim_training import CLASSES, Data, Schedule, batches_of, train

Tune = Callable[[nn.Module, tuple[float, float]], None]
"""Trains a network over a part of the tuning's steps."""

OURS = {"once": 1, "progressive": 5}
"""Rounds of ``lwdna.slim``."""
SHARE = 0.3
"""Part of the tuning within which the rounds lie."""
FLOOR = 0.1


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
    """Return the slim network, the part of the tuning that is done, and facts worth noting.

    Statistics of batch normalisation are left to the benchmark, which takes them for everybody.
    """
    batches = batches_of(given.data, 10, 128, given.seed)
    model: nn.Module | Slimmed = given.dense
    rounds, done = OURS[name], 0.0
    for number in range(1, rounds + 1):
        if isinstance(model, Slimmed):
            until = SHARE * (number - 1) / (rounds - 1)
            given.tune(model.network, (done, until))
            done = until
        budget = Budget(macs=given.fraction ** (number / rounds))
        loss = nn.CrossEntropyLoss()
        model = lwdna.slim(
            model, batches, loss, budget, floor=FLOOR, recalibrate=0, seed=given.seed
        )
    assert isinstance(model, Slimmed)
    return model.network.to(given.data.train.device), done, {"widths": model.widths}


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
    "magnitude/isomorphic": Theirs(scope="isomorphic"),
    "magnitude/local": Theirs(scope="local"),
    "lamp": Theirs("LAMPImportance"),
    "fpgm": Theirs("FPGMImportance"),
    "taylor": Theirs("GroupTaylorImportance", reads="gradient"),
    "hessian": Theirs("GroupHessianImportance", reads="hessian"),
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
    now = macs_by(positions)
    taken = 0
    while pruner.current_step < STEPS:
        if taken % REFRESH == 0:
            refresh()
        if now > 1.08 * target:  # far away, several steps at once
            pruner.current_step = min(pruner.current_step + COARSE, STEPS) - 1
        taken += 1
        for group in pruner.step(interactive=True):
            before, previous = now, state_of(network)
            group.prune()
            now = macs_by(positions)
            if now <= target:
                if before - target < target - now:
                    put_back(previous)
                return network, taken
    return network, taken


State = list[tuple[nn.Module, dict[str, Any]]]


def state_of(network: nn.Module) -> State:
    """Return what pruning replaces: the tensors and sizes of modules, which it never writes to."""
    return [
        (m, {**vars(m), "_parameters": dict(m._parameters), "_buffers": dict(m._buffers)})
        for m in network.modules()
    ]


def put_back(state: State) -> None:
    for module, values in state:
        vars(module).update(values)


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
