"""What a network makes when it first runs: hooks, modules, caches, flags."""

from __future__ import annotations

import copy
from functools import lru_cache, partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwdna.channels import resize, trace

from .proof import assert_resizes, assert_slices, outputs_of
from .test_untouched import state_of

IMAGE = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))


class Chain(nn.Module):
    """Three convolutions; something happens to what the second returns."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 7, 3, padding=1), nn.Conv2d(7, 5, 3, padding=1)
        self.c = nn.Conv2d(5, 2, 1)

    def between(self, y: Tensor) -> Tensor:
        return y

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.between(self.b(self.a(x).relu())).relu())


class Hooks(Chain):
    """Registers hooks once; they close over the network."""

    done = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.done:
            self.seen: dict[str, Tensor] = {}
            for name in "ab":
                keep = lambda module, args, y, name=name: self.seen.update({name: y})  # noqa: E731
                getattr(self, name).register_forward_hook(keep)
            self.done = True
        self.b(self.a(x))
        return self.c(self.seen["b"].relu()) + self.c(self.b(self.seen["a"]))


class HooksAtOnce(Chain):
    """The same, when it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.b.register_forward_hook(lambda module, args, y: self.seen.append(y))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.clear()
        self.b(self.a(x))
        return self.c(self.seen[0].relu())


class Methods(Chain):
    """Hooks that are methods, one of them with an argument already given."""

    handles: tuple = ()

    def keep(self, name: str, module: nn.Module, args: tuple, y: Tensor) -> None:
        setattr(self, name, y)

    def forward(self, x: Tensor) -> Tensor:
        if not self.handles:
            self.handles = (self.b.register_forward_hook(partial(self.keep, "last")),)
        self.b(self.a(x))
        return self.c(self.last.relu())


class Counts(Chain):
    def __init__(self) -> None:
        super().__init__()
        self.calls, self.shapes = 0, []

    def between(self, y: Tensor) -> Tensor:
        self.calls += 1
        self.shapes.append(tuple(y.shape))
        return y


class Position(Chain):
    """A cache for each size of image."""

    def __init__(self) -> None:
        super().__init__()
        self.grids: dict[tuple[int, ...], Tensor] = {}

    def between(self, y: Tensor) -> Tensor:
        size = tuple(y.shape[2:])
        if size not in self.grids:
            rows, columns = (torch.arange(side) / 7 for side in size)
            self.grids[size] = rows[:, None] * columns
        return y + self.grids[size]


class PositionInBuffer(Chain):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("grid", None)

    def between(self, y: Tensor) -> Tensor:
        if self.grid is None:
            self.grid = torch.arange(y.shape[3]) / 7
        return y + self.grid


class Helper:
    def __init__(self) -> None:
        self.mask: Tensor | None = None

    def __call__(self, y: Tensor) -> Tensor:
        if self.mask is None or self.mask.shape != y.shape[2:]:
            self.mask = torch.ones(y.shape[2:]) / 7
        return y * self.mask


class InHelper(Chain):
    def __init__(self) -> None:
        super().__init__()
        self.helper = Helper()

    def between(self, y: Tensor) -> Tensor:
        return self.helper(y)


class Parameter(Chain):
    def between(self, y: Tensor) -> Tensor:
        if not hasattr(self, "gamma"):
            self.gamma = nn.Parameter(torch.ones(1, y.shape[1], 1, 1))
        return self.gamma * y


class Module(Chain):
    def between(self, y: Tensor) -> Tensor:
        if not hasattr(self, "project"):
            self.project = nn.Conv2d(y.shape[1], y.shape[1], 1)
        return y + self.project(y)


SAME = [
    Hooks,
    HooksAtOnce,
    Methods,
    Counts,
    Position,
    PositionInBuffer,
    InHelper,
    Parameter,
    Module,
]


@pytest.mark.parametrize("network", SAME)
def test_a_network_has_one_graph_before_and_after_its_first_run(network):
    torch.manual_seed(0)
    model = network()
    before = state_of(model)
    graph = trace(model, IMAGE)
    assert state_of(model) == before
    assert graph.widths == {"a": 7, "b": 5}
    assert not graph.unknown_ops
    ran = network()
    outputs_of(ran, IMAGE)
    assert trace(ran.train(), IMAGE) == graph
    assert_resizes(ran, IMAGE, graph)
    whole = outputs_of(ran, IMAGE)[0]
    same = resize(ran, graph, graph.widths, init="slice")
    assert torch.equal(outputs_of(same, IMAGE)[0], whole)
    # One draws its weights when it first runs; deepcopy does not know what hooks close over.
    if network not in (Module, Hooks, HooksAtOnce):
        assert_slices(network(), IMAGE, graph)


@pytest.mark.parametrize("network", [Hooks, HooksAtOnce, Methods])
def test_hooks_of_a_copy_are_its_own(network):
    torch.manual_seed(0)
    model = network()
    outputs_of(model, IMAGE)
    seen = copy.copy(model.seen) if hasattr(model, "seen") else model.last
    other = resize(model, trace(model, IMAGE), {"b": 3})
    outputs_of(other, IMAGE)
    now = model.seen if hasattr(model, "seen") else model.last
    assert len(now) == len(seen)
    assert all(one is two for one, two in zip(now, seen, strict=True)) or now is seen
    kept = other.seen if hasattr(other, "seen") else other.last
    shapes = {tuple(y.shape) for y in (kept.values() if isinstance(kept, dict) else kept)}
    assert (2, 3, 6, 8) in shapes or (3, 6, 8) in shapes


class Fixed(Chain):
    """The module that it makes has five channels, whatever comes."""

    def between(self, y: Tensor) -> Tensor:
        if not hasattr(self, "project"):
            self.project = nn.Conv2d(y.shape[1], 5, 1)
        return self.project(y)


def test_sizes_written_into_what_the_first_run_makes_are_pinned():
    graph = trace(Fixed(), IMAGE)
    assert graph.widths == {"a": 7, "b": 5}
    reasons = {p.tensor: str(p.reasons[0]) for p in graph.pinned}
    assert "a size is written into the network's code" in reasons["project.weight"]
    assert "test_first_run.py:" in reasons["project.weight"]
    assert outputs_of(resize(Fixed(), graph, {"b": 11}), IMAGE)[0].shape == (2, 2, 6, 8)


class Cached(Chain):
    """A cache over channels; ``checks`` says whether it is renewed for another shape."""

    def __init__(self, checks: bool) -> None:
        super().__init__()
        self.checks, self.bias = checks, None

    def between(self, y: Tensor) -> Tensor:
        if self.bias is None or (self.checks and self.bias.shape != y.shape[1:]):
            self.bias = torch.zeros_like(y[0]) + torch.arange(y.shape[3])
        return y + self.bias


@pytest.mark.parametrize("checks", [False, True])
def test_caches_over_channels(checks):
    model = Cached(checks)
    graph = trace(model, IMAGE)
    assert graph.widths == {"a": 7, "b": 5}
    outputs_of(model, IMAGE)
    assert outputs_of(resize(model, graph, {"b": 3}), IMAGE)[0].shape == (2, 2, 6, 8)
    assert model.bias.shape == (5, 6, 8)
    ran = trace(model, IMAGE)
    assert ran.widths == ({"a": 7, "b": 5} if checks else {"a": 7})
    assert not any(group.exact for group in ran.groups if group.name == "b"), "values are not known"
    assert_resizes(model, IMAGE, ran)


class CachedWeights(Chain):
    """The weights of a second path are computed once from those of the first."""

    weight: Tensor | None = None

    def between(self, y: Tensor) -> Tensor:
        if self.weight is None:
            self.weight = torch.einsum("oihw,pihw->op", self.b.weight, self.b.weight)[
                ..., None, None
            ]
        return y + F.conv2d(y, self.weight)


def test_weights_computed_in_the_first_run_follow_their_sources():
    model = CachedWeights()
    graph = trace(model, IMAGE)
    assert graph.widths == {"a": 7, "b": 5}
    assert graph.tensors["b.weight"][1].groups
    outputs_of(model, IMAGE)
    other = resize(model, graph, {"a": 3, "b": 11})
    assert other.weight is None
    assert outputs_of(other, IMAGE)[0].shape == (2, 2, 6, 8)


class Normalised(Counts):
    """Keeps a size that only a second run at other widths shows, and a list that grows."""

    def __init__(self) -> None:
        super().__init__()
        self.shape, self.scale = (5,), nn.Parameter(torch.ones(5))

    def between(self, y: Tensor) -> Tensor:
        y = super().between(y).movedim(1, -1)
        return F.layer_norm(y, self.shape, self.scale).movedim(-1, 1)


def test_sizes_in_attributes_follow_where_the_first_run_changes_something():
    model = Normalised()
    graph = trace(model, IMAGE)
    assert graph.widths == {"a": 7, "b": 5}
    assert resize(model, graph, {"b": 11}).shape == (11,)
    assert_resizes(model, IMAGE, graph)


@lru_cache
def _remembered(side: int) -> torch.Tensor:
    return torch.linspace(0, 1, side)[None] * torch.ones(side, 1)


def test_functions_that_remember_results_forget_those_of_tracing():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 7, 3), nn.Conv2d(7, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x)
            return self.b(y + _remembered(y.shape[-1]))

    model, x = Net().eval(), torch.rand(1, 3, 9, 9)
    graph = trace(model, x)
    assert graph.widths == {"a": 7}
    assert type(_remembered(7)) is torch.Tensor
    assert_slices(model, x, graph)


class _Refuses:
    """What stands in a module for a package that is missing, in some libraries."""

    def __getattr__(self, name: str) -> None:
        raise ImportError(name)


missing = _Refuses()
