"""Networks that read values, or scale by numbers that follow from widths."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lwdna
from lwdna import trace
from lwdna.errors import GraphError
from tests.channels.proof import assert_holds, outputs_of, relative_error, silenced

A, B, C = 13, 11, 7
"""Widths."""


class Chain(nn.Module):
    """Two convolutions, something in between, a third one."""

    def __init__(self, between: Callable[..., Tensor], given: int = B, **buffers: Tensor) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, A, 3), nn.Conv2d(A, B, 1)
        self.head = nn.Conv2d(given, 2, 1)
        self.between = between
        self.strides = torch.tensor([2.0, 4.0])  # no buffer, as in many detectors
        self.table = {"sizes": [torch.tensor(3)]}
        self.gain = nn.Parameter(torch.tensor(1.5))
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        y = self.b(self.a(x).relu())
        return self.head(self.between(self, y, *more))


X = torch.linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8)


def _anchors(net: Chain, y: Tensor) -> Tensor:
    points = [y.new_full((1, y.shape[-1]), stride) for stride in net.strides]
    return y * torch.cat(points).sum(0)


def _branch(net: Chain, y: Tensor) -> Tensor:
    return y if y.mean() > 1e9 else 2 * y


def _rounds(net: Chain, y: Tensor) -> Tensor:
    for _ in range(int(torch.linspace(0, 4, 3)[1].item())):
        y = y.relu()
    return y


def _array(net: Chain, y: Tensor) -> Tensor:
    kernel = torch.ones(2, 2).numpy() / 4
    return y * float(kernel.sum()) * torch.from_numpy(np.linspace(0, 1, 6)).float()


READ = {
    "attribute": _anchors,
    "attribute in a table": lambda net, y: y.repeat(1, 1, int(net.table["sizes"][0]), 1),
    "arange.tolist": lambda net, y: y.sum(torch.arange(2, y.ndim).tolist(), keepdim=True),
    "linspace.item": _rounds,
    "numpy of a constant": _array,
    "buffer": lambda net, y: y[:, :, : int(net.rows)],
    "parameter": lambda net, y: y * float(net.gain),
    "branch": _branch,
    "unique": lambda net, y: y * torch.unique(torch.tensor([3, 3, 5])).numel(),
    "mask of a constant": lambda net, y: y[..., torch.arange(6) % 2 == 0],
    "written constant": lambda net, y: y * torch.zeros(3).fill_(2).index_fill_(0, net.one, 1)[0],
}


@pytest.mark.parametrize("kind", READ)
def test_numbers_that_the_code_reads_leave_channels_free(kind):
    net = Chain(READ[kind], rows=torch.tensor(4), one=torch.tensor([1])).eval()
    graph = trace(net, X)
    assert graph.widths == {"a": A, "b": B}
    assert_holds(net, X, graph)


class Picks(nn.Module):
    """Rows picked by their values go through a linear layer, as in detectors."""

    def __init__(self, pick: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, A, 3), nn.Conv2d(A, B, 3)
        self.score, self.box = nn.Conv2d(B, 1, 1), nn.Linear(B, 4)
        self.pick = pick

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.a(x).relu()).relu()
        return self.box(self.pick(y.flatten(2)[0].T, self.score(y).flatten()))


def _some(scores: Tensor) -> Tensor:
    return scores > scores.mean()


PICKS = {
    "mask": lambda rows, s: rows[_some(s)],
    "nonzero": lambda rows, s: rows[_some(s).nonzero().squeeze(1)],
    "where": lambda rows, s: rows[torch.where(_some(s))[0]],
    "masked_select": lambda rows, s: rows[torch.arange(len(s)).masked_select(_some(s))],
    "count": lambda rows, s: rows[: int(_some(s).sum())],
    "topk": lambda rows, s: rows[s.topk(int(_some(s).sum())).indices],
    "repeat": lambda rows, s: rows.repeat_interleave(1 + _some(s).long(), 0),
    "unique": lambda rows, s: rows[torch.unique(_some(s).long() * torch.arange(len(s)))],
    "list": lambda rows, s: rows[_some(s).tolist()],
    "array": lambda rows, s: rows[torch.from_numpy(np.flatnonzero(_some(s).numpy()))],
}


@pytest.mark.parametrize("kind", PICKS)
def test_rows_picked_by_value_keep_their_channels(kind):
    net, x = Picks(PICKS[kind]).eval(), torch.rand(1, 3, 8, 8)
    before = torch.get_rng_state()
    graph = trace(net, x)
    assert torch.equal(torch.get_rng_state(), before)
    assert graph.widths == {"a": A, "b": B}
    whole = outputs_of(net, x)[0]
    assert graph.cost().macs == (36 * 27 * A + 16 * 9 * A * B + 16 * B + len(whole) * 4 * B)
    kept = {"a": torch.tensor([0, 2, 3, 5, 7, 12])}
    small, masked = lwdna.resize(net, graph, kept, "slice"), silenced(net, graph, kept)
    assert relative_error(outputs_of(small, x), outputs_of(masked, x)) < 1e-5
    assert outputs_of(lwdna.resize(net, graph, {"b": 5}, "fresh", seed=0), x)[0].shape[1] == 4


def test_a_number_of_an_input_is_read():
    class Lengths(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.head = nn.Conv1d(3, A, 3), nn.Conv1d(A, 2, 1)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            y = self.a(x)[..., : int(lengths.max())]
            mask = torch.arange(y.shape[-1])[None] < lengths[:, None]
            return self.head(y * mask[:, None])

    inputs = (torch.rand(2, 3, 19), torch.tensor([5, 11]))
    net = Lengths().eval()
    graph = trace(net, inputs)
    assert graph.widths == {"a": A}
    assert graph.cost().macs == 2 * 17 * 9 * A + 2 * 11 * A * 2
    assert_holds(net, inputs, graph)


def test_channels_whose_values_the_code_reads_are_pinned():
    net = Chain(lambda net, y: torch.from_numpy(2 * y.detach().numpy())).eval()
    graph = trace(net, X)
    assert graph.widths == {"a": A}
    assert "its values are read by the network's code" in graph.report()


def test_attributes_and_inputs_keep_their_values():
    def write(net: Chain, y: Tensor) -> Tensor:
        net.strides += 1
        net.rows += 1
        return y[..., : int(net.rows)] if y.mean() < 1e9 else y

    net = Chain(write, rows=torch.tensor(3)).eval()
    trace(net, X)
    assert net.strides.tolist() == [2, 4]
    assert net.rows == 3


def _correlation(y: Tensor) -> Tensor:
    flat = y.flatten(2)
    return (flat.transpose(1, 2) @ flat).view(1, -1, *y.shape[2:])


SCALED: dict[str, Callable[[Chain, Tensor], Tensor]] = {
    "/ sqrt": lambda net, y: _correlation(y) / math.sqrt(y.shape[1]),
    "** -0.5": lambda net, y: _correlation(y) * y.size(1) ** -0.5,
    "numpy": lambda net, y: _correlation(y) * float(np.sqrt(y.shape[1])),
    "numpy array": lambda net, y: _correlation(y) * torch.from_numpy(np.full(1, y.shape[1])),
    "text": lambda net, y: _correlation(y) * float(str(y.shape[1])),
    "tensor": lambda net, y: _correlation(y) / torch.tensor(y.shape[1]).sqrt(),
    "tensor of a float": lambda net, y: _correlation(y) / torch.tensor(float(y.shape[1])),
    "as_tensor": lambda net, y: _correlation(y) / torch.as_tensor([y.shape[1]]),
    "new_tensor": lambda net, y: _correlation(y) / y.new_tensor(y.shape[1]),
    "full": lambda net, y: _correlation(y) / torch.full((1,), y.shape[1]),
    "new_full": lambda net, y: _correlation(y) / y.new_full((6, 6), y.shape[1]),
    "full_like": lambda net, y: (lambda z: z / torch.full_like(z, y.shape[1]))(_correlation(y)),
    "scalar_tensor": lambda net, y: _correlation(y) / torch.scalar_tensor(y.shape[1]),
    "numel": lambda net, y: _correlation(y) * (y.numel() // 36),
    "half of it": lambda net, y: _correlation(y) / (y.shape[1] // 8),
    "at most": lambda net, y: _correlation(y) / min(y.shape[1], 16),
    "ones.sum": lambda net, y: _correlation(y) / torch.ones(y.shape[1]).sum(),
    "ones_like.sum": lambda net, y: _correlation(y) / torch.ones_like(y[0, :, 0, 0]).sum(),
    "arange": lambda net, y: _correlation(y * torch.arange(y.shape[1]).view(1, -1, 1, 1)),
    "linspace": lambda net, y: _correlation(y * torch.linspace(0, 1, y.shape[1])[:, None, None]),
    "attribute": lambda net, y: _correlation(y) / _noted(net, y.shape[1]),
    "written buffer": lambda net, y: _correlation(y) / net.scale.fill_(y.shape[1]),
    "new buffer": lambda net, y: _correlation(y) / _buffered(net, y.shape[1]),
    "alpha": lambda net, y: torch.add(y.sum(1, True), _correlation(y), alpha=y.shape[1]),
    "clamp": lambda net, y: _correlation(y).clamp(max=10.0 * y.shape[1]),
    "addcmul": lambda net, y: torch.addcmul(
        _correlation(y), _correlation(y), _correlation(y), value=1 / y.shape[1]
    ),
}


def _noted(net: Chain, width: int) -> float:
    net.factor = width**0.5
    return net.factor


def _buffered(net: Chain, width: int) -> Tensor:
    net.scale = torch.tensor(float(width))
    return net.scale


@pytest.mark.parametrize("kind", SCALED)
def test_a_scale_that_follows_from_a_width_is_not_exact(kind):
    net = Chain(SCALED[kind], given=36, scale=torch.ones(())).eval()
    graph = trace(net, X)
    assert graph.widths == {"a": A, "b": B}
    exact = {group.name: group.exact for group in graph.groups}
    assert exact == {"a": True, "b": False}
    with pytest.raises(GraphError, match="cannot be sliced along group 'b'"):
        lwdna.resize(net, graph, {"b": torch.arange(5)}, "slice")
    assert_holds(net, X, graph)


CONSTANT: dict[str, Callable[[Chain, Tensor], Tensor]] = {
    "zeros": lambda net, y: torch.cat([y, torch.zeros_like(y)], 1)[:, : y.shape[1]],
    "ones": lambda net, y: y * torch.ones(y.shape[1], 1, 1),
    "a size alone": lambda net, y: y.view(1, int(y.shape[1] / 1), 6, 6),
    "positions of space": lambda net, y: y + torch.linspace(0, 1, y.shape[-1]),
    "a constant": lambda net, y: y / torch.tensor(9.0),
}


@pytest.mark.parametrize("kind", CONSTANT)
def test_constants_leave_slices_exact(kind):
    net = Chain(CONSTANT[kind]).eval()
    graph = trace(net, X)
    assert {group.name: group.exact for group in graph.groups} == {"a": True, "b": True}
    assert_holds(net, X, graph)


LOUD: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "relu": (F.relu, True),
    "silu": (lambda y: y * y.sigmoid(), True),
    "gelu of half": (lambda y: F.gelu(y / 2), True),
    "clamped at zero": (lambda y: y.clamp(0, 1), True),
    "padded and pooled": (lambda y: F.avg_pool2d(F.pad(y, (0, 1, 1, 0)), 2, 1), True),
    "over its own size": (lambda y: y / (y.abs() + 1), True),
    "sigmoid": (torch.sigmoid, False),
    "elu + 1": (lambda y: F.elu(y) + 1, False),
    "1 - y": (lambda y: 1 - y, False),
    "exp": (torch.exp, False),
    "softplus": (F.softplus, False),
    "clamped above zero": (lambda y: y.clamp(0.01, 1), False),
    "in place": (lambda y: y.clone().sigmoid_(), False),
    "into zeros": (lambda y: torch.zeros_like(y).copy_(y.cos()), False),
    "into a part of zeros": (
        lambda y: (lambda z: (z[:, :, 0].copy_(y[:, :, 0].cos()), z)[1])(torch.zeros_like(y)),
        False,
    ),
    "padded with ones": (lambda y: F.pad(y, (0, 1, 1, 0), value=1.0)[..., :6, 1:], False),
}


@pytest.mark.parametrize("kind", LOUD)
def test_a_sum_over_channels_needs_a_factor_that_is_zero(kind):
    """Of a product of activations, what is silenced must not count: sigmoid(0) is one half."""
    of, exact = LOUD[kind]
    net = Chain(lambda net, y: _correlation(of(y)), given=36).eval()
    graph = trace(net, X)
    assert {group.name: group.exact for group in graph.groups} == {"a": True, "b": exact}
    assert_holds(net, X, graph)
    kept = {"b": torch.tensor([0, 1, 4, 6, 9])}
    small = lwdna.resize(net, graph, kept, "slice", inexact="allow")
    error = relative_error(outputs_of(small, X), outputs_of(silenced(net, graph, kept), X))
    assert (error < 1e-5) == exact


def test_a_normalisation_without_parameters_is_loud():
    class Net(nn.Module):
        def __init__(self, affine: bool) -> None:
            super().__init__()
            self.a, self.norm = nn.Conv2d(3, A, 3), nn.BatchNorm2d(A, affine=affine)
            self.head = nn.Conv2d(36, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(_correlation(self.norm(self.a(x))))

    found = [[g.exact for g in trace(Net(affine).eval(), X).groups] for affine in (True, False)]
    assert found == [[True], [False]]


def test_what_cannot_be_traced_names_the_operator_and_a_part():
    class Bytes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, A, 3), nn.ReLU(), nn.Conv2d(A, B, 3))
            self.tail = Tail()

        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.body(x))

    class Tail(nn.Module):
        def forward(self, y: Tensor) -> Tensor:
            return y * len(bytes(y.untyped_storage().tolist()[:3]))

    with pytest.raises(GraphError, match=r"runs but cannot be traced.*'tail'.*trace a part.*body"):
        trace(Bytes().eval(), X)


def test_values_of_the_meta_device_are_refused():
    with torch.device("meta"):
        net = Picks(PICKS["mask"]).eval()
    with pytest.raises(GraphError, match="parameters are on the meta device"):
        trace(net, torch.empty(1, 3, 8, 8, device="meta"))


def test_what_does_not_run_says_so():
    with pytest.raises(GraphError, match=r"does not run on inputs of shape \[\(1, 5, 8, 8\)\]"):
        trace(Picks(PICKS["mask"]).eval(), torch.zeros(1, 5, 8, 8))


def test_channels_that_a_part_may_take_which_did_not_run_are_pinned():
    class Finds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, A, 3), nn.Conv2d(A, B, 1)
            self.refine = nn.Linear(B, 4)

        def forward(self, x: Tensor) -> Tensor:
            rows = self.b(self.a(x).relu()).flatten(2)[0].T
            found = rows[rows.sum(1) > 1e9]
            return self.refine(found) if len(found) else rows.new_zeros(0, 4)

    graph = trace(Finds().eval(), X)
    assert graph.widths == {"a": A}
    assert "refine.weight may take them" in graph.report()
