"""Recurrent layers and cells: what their weights share, what they cost, how they are resized."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lwdna.channels import ChannelGraph, resize, trace

from .proof import assert_holds, assert_slices, outputs_of

SOUND = (3, 2, 11)
"""A batch of 3, 2 channels, 11 steps."""


class Over(nn.Module):
    """5 channels over time into a recurrent layer of 7; a linear layer reads every step."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.a, self.layer, self.head = nn.Conv1d(2, 5, 1), layer, nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).transpose(1, 2)
        if not self.layer.batch_first:
            y = y.transpose(0, 1)
        return self.head(self.layer(y)[0])


def members(graph: ChannelGraph) -> dict[str, tuple[int, list[str]]]:
    return {
        group.name: (group.width, sorted(f"{tensor}.{axis}" for tensor, axis in group.members))
        for group in graph.groups
    }


def named(text: str) -> list[str]:
    return sorted(text.split())


def test_layers_and_directions_share_what_is_hidden():
    """Two layers in both directions: the second reads both directions of the first."""
    model = Over(nn.GRU(5, 7, num_layers=2, bidirectional=True, bias=False), 14)
    graph = trace(model, torch.zeros(SOUND))
    ends = ("l0", "l0_reverse", "l1", "l1_reverse")
    hidden = [f"layer.weight_hh_{end}.{axis}" for end in ends for axis in (0, 1)]
    hidden += [f"layer.weight_ih_{end}.0" for end in ends]
    hidden += ["layer.weight_ih_l1.1", "layer.weight_ih_l1_reverse.1", "head.weight.1"]
    assert members(graph) == {
        "a": (5, named("a.weight.0 a.bias.0 layer.weight_ih_l0.1 layer.weight_ih_l0_reverse.1")),
        "layer": (7, sorted(hidden)),
    }
    assert graph.unknown_ops == ()
    first, second = 2 * 3 * 7 * (5 + 7), 2 * 3 * 7 * (14 + 7)
    assert graph.cost().macs == 3 * 11 * (2 * 5 + first + second + 14 * 4)


def test_a_projection_has_a_width_of_its_own():
    model = Over(nn.LSTM(5, 7, batch_first=True, proj_size=3), 3)
    graph = trace(model, torch.zeros(SOUND))
    assert members(graph) == {
        "a": (5, named("a.weight.0 a.bias.0 layer.weight_ih_l0.1")),
        "layer": (
            7,
            named(
                "layer.weight_ih_l0.0 layer.weight_hh_l0.0 layer.bias_ih_l0.0 layer.bias_hh_l0.0 "
                "layer.weight_hr_l0.1"
            ),
        ),
        "layer#2": (3, named("layer.weight_hh_l0.1 layer.weight_hr_l0.0 head.weight.1")),
    }
    step = 2 * 5 + 4 * 7 * (5 + 3) + 7 * 3 + 3 * 4
    assert graph.cost().macs == 3 * 11 * step
    smaller = resize(model, graph, {"a": 2, "layer": 6, "layer#2": 4})
    layer = smaller.layer
    assert (layer.input_size, layer.hidden_size, layer.proj_size) == (2, 6, 4)
    assert (layer.weight_ih_l0.shape, layer.weight_hr_l0.shape) == ((24, 2), (4, 6))


KINDS = {
    "LSTM": nn.LSTM,
    "GRU": nn.GRU,
    "RNN": nn.RNN,
    "RNN relu": lambda *args, **options: nn.RNN(*args, nonlinearity="relu", **options),
    "projected": lambda *args, **options: nn.LSTM(*args, proj_size=3, **options),
}

PROJECTED = {"projected": {"layer#2": 3}}


@pytest.mark.parametrize("kind", KINDS)
def test_exact_cost_and_exact_slices(kind):
    torch.manual_seed(0)
    sound = torch.randn(SOUND)
    for layers, both, first in product((1, 3), (False, True), (False, True)):
        options = {"num_layers": layers, "bidirectional": both, "batch_first": first}
        layer = KINDS[kind](5, 7, **options, bias=first or both)
        model = Over(layer, (1 + both) * (3 if kind == "projected" else 7))
        graph = trace(model, sound)
        assert graph.widths == {"a": 5, "layer": 7} | PROJECTED.get(kind, {})
        assert graph.unknown_ops == ()
        assert_holds(model, sound, graph)


def test_a_resized_layer_trains_its_own_weights():
    """Layers keep a list of their weights beside the parameters."""
    torch.manual_seed(0)
    model = Over(nn.LSTM(5, 7, batch_first=True), 7)
    graph = trace(model, torch.zeros(SOUND))
    for init in ("fresh", "slice"):
        layer = resize(model, graph, {"a": 3, "layer": 2}, init=init).layer
        assert (layer.input_size, layer.hidden_size) == (3, 2)
        assert all(
            one is other for one, other in zip(layer._flat_weights, layer.parameters(), strict=True)
        )


class States(nn.Module):
    """The first state comes from a layer of its own; the last ones are read."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv1d(2, 5, 1), nn.Linear(11, 7), nn.Linear(7, 4)
        self.layer = nn.LSTM(5, 7, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        first = self.b(x.mean(1))[None]
        _, (out, hidden) = self.layer(self.a(x).transpose(1, 2), (first, first.tanh()))
        return self.c(out[-1] * hidden[-1])


class Packed(nn.Module):
    """Sequences of 4, 2 and 1 steps, packed by hand: 3, 2, 1 and 1 of them go on."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.a, self.layer, self.head = nn.Linear(2, 5), layer, nn.Linear(14, 4)
        self.register_buffer("going", torch.tensor([3, 2, 1, 1]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x.flatten(0, 1))
        zeros = y.new_zeros(2, 3, self.layer.hidden_size)
        states = (zeros, zeros) if isinstance(self.layer, nn.LSTM) else zeros
        call = torch.lstm if isinstance(self.layer, nn.LSTM) else torch.gru
        out = call(
            *(y, self.going, states, list(self.layer.parameters()), True, 1, 0.0, False, True)
        )[0]
        return self.head(PackedSequence(out, self.going).data)


class Cells(nn.Module):
    """Step by step: the state of one step is an input of the next."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.a, self.cell, self.head = nn.Conv1d(2, 5, 1), cell, nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, state = self.a(x), None
        for step in range(3):
            state = self.cell(y[:, :, step], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


def test_states_agree_with_what_is_hidden():
    torch.manual_seed(0)
    sound = torch.randn(SOUND)
    graph = trace(States(), sound)
    hidden = "b.weight.0 b.bias.0 layer.weight_ih_l0.0 layer.weight_hh_l0.0 layer.weight_hh_l0.1 "
    assert members(graph) == {
        "a": (5, named("a.weight.0 a.bias.0 layer.weight_ih_l0.1")),
        "b": (7, named(hidden + "layer.bias_ih_l0.0 layer.bias_hh_l0.0 c.weight.1")),
    }
    assert_holds(States(), sound, graph)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_packed_sequences(kind):
    torch.manual_seed(0)
    model, steps = Packed(kind(5, 7, bidirectional=True)), torch.randn(1, 7, 2)
    graph = trace(model, steps)
    name, gates = {nn.LSTM: ("lstm", 4), nn.GRU: ("gru", 3)}[kind]
    assert graph.widths == {"a": 5, name: 7}
    assert graph.unknown_ops == ()
    assert graph.cost().macs == 7 * (2 * 5 + 2 * gates * 7 * (5 + 7) + 14 * 4)
    assert_slices(model, steps, graph)
    assert outputs_of(resize(model, graph, {"a": 3, name: 11}), steps)[0].shape == (7, 4)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells(kind):
    torch.manual_seed(0)
    model, sound = Cells(kind(5, 7)), torch.randn(SOUND)
    graph = trace(model, sound)
    hidden = "cell.weight_ih.0 cell.weight_hh.0 cell.weight_hh.1 cell.bias_ih.0 cell.bias_hh.0 "
    assert members(graph) == {
        "a": (5, named("a.weight.0 a.bias.0 cell.weight_ih.1")),
        "cell": (7, named(hidden + "head.weight.1")),
    }
    assert graph.unknown_ops == ()
    assert_holds(model, sound, graph)
    cell = resize(model, graph, {"a": 3, "cell": 2}).cell
    assert (cell.input_size, cell.hidden_size) == (3, 2)


def test_a_long_sequence_is_one_operator():
    graph = trace(Over(nn.GRU(5, 7, batch_first=True), 7), torch.zeros(1, 2, 5000))
    assert len([one for one in graph.operators if one.module == "layer"]) == 1


def test_a_layer_runs_alone_at_other_widths():
    """As when its time is measured: shapes and arguments fit together."""
    model = Over(nn.LSTM(5, 7, num_layers=2, bidirectional=True), 14)
    graph = trace(model, torch.zeros(SOUND))
    (one,) = (o for o in graph.operators if o.module == "layer")
    widths = graph.in_order({"a": 3, "layer": 11})
    shapes = [tuple(axis.length(widths) for axis in form.axes) for form in one.inputs]
    tensors = iter(torch.zeros(shape) for shape in shapes)
    arguments = [
        [next(tensors) for _ in value]
        if isinstance(value, tuple)
        else next(tensors)
        if position == 0
        else value
        for position, value in enumerate(one.arguments_at(shapes))
    ]
    assert [result.shape for result in one.overload(*arguments)] == [
        (11, 3, 22),
        (4, 3, 11),
        (4, 3, 11),
    ]
