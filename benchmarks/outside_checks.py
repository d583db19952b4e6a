"""Checks of one network of another library: really built, really run, in double precision."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

import lwdna
from lwdna.channels import ChannelGraph
from outside_networks import to_double
from outside_table import SHOWS
from workers import brief
from zoo_ours import make_nontrivial, outputs, resized, silence

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference of an output, relative to its largest entry."""
DRAWS = 3
OTHER_WEIGHTS = 4
"""So many draws of weights are tried until silencing units changes the output."""
NAMED = 24
"""So many groups are tried alone where a slice of several is wrong, to name the guilty."""
RANDOM = ("randn", "rand", "randn_like", "rand_like", "normal", "normal_", "uniform_", "bernoulli")

Run = Callable[[nn.Module], list[Tensor]]


class _Steady(TorchFunctionMode):
    """Computes in one floating-point type, and draws the same number everywhere.

    Two networks of different widths draw other random numbers from the same seed; networks that
    ask for float32 by name cannot be run in float64 otherwise.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        args, kwargs = tree_map(self._type, (args, kwargs or {}))
        name = getattr(func, "__name__", "")
        if name == "float" and self.dtype is torch.float64:
            return args[0].double()
        result = func(*args, **kwargs)
        if name in RANDOM and isinstance(result, Tensor):
            result.fill_(0.5)
        return result

    def _type(self, value: Any) -> Any:
        return self.dtype if value is torch.float32 or value is torch.float16 else value


@contextmanager
def steady(dtype: torch.dtype) -> Iterator[None]:
    """Run the body in one floating-point type, with steady random numbers."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with _Steady(dtype):
            yield
    finally:
        torch.set_default_dtype(before)


def check(
    model: nn.Module, inputs: Any, others: Any, graph: ChannelGraph, by_value: bool, seed: int
) -> dict[str, Any]:
    """Check random widths and slices; a check that raises says so in its own entry.

    Args:
        model: the network, as traced; its weights are changed.
        inputs: those that it was traced with.
        others: inputs of the same shapes with other numbers.
        graph: its channel graph.
        by_value: the network chooses by value, so that shapes of its outputs and its cost may
            differ between networks.
        seed: of everything random.
    """
    start = time.process_time()
    make_nontrivial(model, seed)
    outputs(model, inputs)  # weights computed with gradients before this run cannot be copied
    found = {
        "resized": _attempt(lambda: _resized(model, inputs, graph, by_value, seed)),
        "sliced": _attempt(lambda: _sliced(model, others, graph, by_value, seed)),
    }
    for other in range(seed + 1, seed + OTHER_WEIGHTS):
        if found["sliced"].get("changed", 1.0) > SHOWS:
            break
        make_nontrivial(model, other)  # silencing changed nothing: a ReLU that is always off, say
        found["sliced"] = _attempt(lambda: _sliced(model, others, graph, by_value, seed))
    return {**found, "check_seconds": time.process_time() - start}


def _attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except Exception as error:
        return {
            "ok": False,
            "error": brief(error),
            "crash": not isinstance(error, lwdna.LwdnaError),
        }


def _resized(
    model: nn.Module, inputs: Any, graph: ChannelGraph, by_value: bool, seed: int
) -> dict[str, Any]:
    """Run at random widths with fresh weights; compare shapes and cost with those predicted."""
    found = resized(model, inputs, graph, outputs(model, inputs), seed)
    if by_value:
        found["ok"] = found["params_exact"]
    return found


def _sliced(
    model: nn.Module, inputs: Any, graph: ChannelGraph, by_value: bool, seed: int
) -> dict[str, Any]:
    """Compare sliced networks with the whole one whose removed units are silenced.

    Networks that choose by value are left out: where scores are equal, rounding decides.
    """
    if by_value:
        return {"ok": True, "groups": 0}
    if not any(group.exact and group.width > 1 for group in graph.groups):
        return {"ok": True, "groups": 0}
    model, run, dtype = _runner(model, inputs)
    whole, found = run(model), {"error": 0.0, "changed": 0.0, "groups": 0}
    found |= {"bits": 64 if dtype is torch.float64 else 32, "finite": _finite(whole)}
    for number in range(DRAWS):
        kept = _units(graph, seed + number, all_groups=number != 1)
        error, changed = _compare(model, graph, kept, run, whole)
        found["error"] = max(found["error"], error)
        found["changed"] = max(found["changed"], changed)
        found["groups"] = max(found["groups"], len(kept))
    found["ok"] = found["error"] < TOLERANCE[dtype]
    if not found["ok"]:
        kept = _units(graph, seed, all_groups=True)
        alone = {}
        for name in list(kept)[:NAMED]:
            alone[name] = _compare(model, graph, {name: kept[name]}, run, whole)[0]
        found["wrong"] = {k: error for k, error in alone.items() if error >= TOLERANCE[dtype]}
    return found


def _runner(model: nn.Module, inputs: Any) -> tuple[nn.Module, Run, torch.dtype]:
    """Return the network, how to run it and in which type: double where it can be."""

    def runner(dtype: torch.dtype, given: Any) -> Run:
        def run(network: nn.Module) -> list[Tensor]:
            with steady(dtype):
                return outputs(network, copy.deepcopy(given))

        return run

    run = runner(torch.float64, to_double(inputs))
    double = copy.deepcopy(model).double()
    try:
        run(double)
    except Exception:  # insists on float32 in a way that cannot be seen from outside
        return model, runner(torch.float32, inputs), torch.float32
    return double, run, torch.float64


def _compare(
    model: nn.Module, graph: ChannelGraph, kept: Mapping[str, Tensor], run: Run, whole: list[Tensor]
) -> tuple[float, float]:
    """Return how far the sliced network is from the silenced, and that one from the whole."""
    small = run(lwdna.resize(model, graph, kept, init="slice"))
    silent = run(silence(model, graph, kept))
    return distance(small, silent), distance(silent, whole)


def _units(graph: ChannelGraph, seed: int, all_groups: bool) -> dict[str, Tensor]:
    """Choose units to keep of groups with exact slices; at least one goes, at least one stays."""
    generator = torch.Generator().manual_seed(seed)
    drawn = random.Random(seed)
    groups = [group for group in graph.groups if group.exact and group.width > 1]
    if not all_groups:
        groups = drawn.sample(groups, (len(groups) + 1) // 2)
    return {
        group.name: torch.randperm(group.width, generator=generator)[
            : drawn.randint(max(1, group.width // 3), group.width - 1)
        ]
        for group in groups
    }


def _finite(values: list[Tensor]) -> bool:
    return all(bool(value.isfinite().all()) for value in values)


def distance(left: list[Tensor], right: list[Tensor]) -> float:
    """Return the largest difference, relative to the largest finite entry of the output concerned.

    Entries that are not finite must be the same on both sides. 1e30, which JSON can write, stands
    for other shapes and for entries of which only one is finite.
    """
    if [value.shape for value in left] != [value.shape for value in right]:
        return 1e30
    worst = 0.0
    for a, b in zip(left, right, strict=True):
        if a.is_complex():
            a, b = torch.view_as_real(a), torch.view_as_real(b)
        a, b = a.double(), b.double()
        finite = a.isfinite()
        if not torch.equal(finite, b.isfinite()):
            return 1e30
        if finite.any():
            a, b = a[finite], b[finite]
            worst = max(worst, float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)))
    return worst
