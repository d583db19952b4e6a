"""Recurrent layers and cells: LSTM, GRU and plain ones, in any number of layers and directions.

Layers are told of one hidden size, so all layers and directions share it. The rows of a weight are
the gates' blocks, one after the other: 4 of an LSTM, 3 of a GRU, 1 of a plain one.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lwdna.channels.algebra.layout import Layout, cut_equal, fixed, resolve
from lwdna.channels.rules.call import Axes, Call
from lwdna.channels.rules.table import register_rule

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@register_rule("gru.input", "lstm.input", "rnn_relu.input", "rnn_tanh.input")
def sequences(call: Call) -> list[Axes]:
    """(T, B, C), or (B, T, C), to (T, B, directions * hidden) and the last states."""
    first, second, channels = call.axes(call["input"])
    time, batch = (second, first) if call["batch_first"] else (first, second)
    out, states = _layers(call, channels, (time, batch))
    for axes in states:
        call.unify(axes[1], batch)
    return [(first, second, out), *states]


@register_rule("gru.data", "lstm.data", "rnn_relu.data", "rnn_tanh.data")
def packed_sequences(call: Call) -> list[Axes]:
    """(steps of all sequences, C) to (steps, directions * hidden) and the last states."""
    steps, channels = call.axes(call["data"])
    out, states = _layers(call, channels, (steps,))
    return [(steps, out), *states]


def _layers(call: Call, channels: Layout, steps: Axes) -> tuple[Layout, list[Axes]]:
    """Unify what a layer's weights share; return the channels of its result, and the states' axes.

    Each direction of each layer has weights (gates * hidden, C) and (gates * hidden, out), two
    biases if there are any, and (out, hidden) where the result is a projection of what is hidden.
    """
    states = _listed(call["hx"])
    out, hidden = (call.axes(state)[2] for state in (states[0], states[-1]))
    projected = states[0].shape[2] != states[-1].shape[2]
    if not projected:
        call.unify(out, hidden)
    directions = 2 if call["bidirectional"] else 1
    each = 2 + 2 * call["has_biases"] + projected
    weights = call["params"]
    for layer in range(call["num_layers"]):
        for direction in range(directions):
            start = (layer * directions + direction) * each
            own = weights[start : start + each]
            _step(call, steps, channels, out, hidden, own[: each - projected])
            if projected:
                narrow, wide = call.axes(own[-1])
                call.unify(narrow, out)
                call.unify(wide, hidden)
                call.macs(1, *steps, narrow, wide)
        channels = resolve(tuple(resolve(out)) * directions)
    call.produces(hidden)
    call.produces(out)
    for state in states:
        count = call.axes(state)[0]
        call.unify(count, fixed(state.shape[0]))
    return channels, [call.axes(state) for state in states]


@register_rule("gru_cell", "lstm_cell", "rnn_relu_cell", "rnn_tanh_cell")
def cell(call: Call) -> list[Axes]:
    """(B, C) and the states, (B, hidden), to the states of the next step."""
    batch, channels = call.axes(call["input"])
    states = [call.axes(state) for state in _listed(call["hx"])]
    for axes in states:
        call.unify(axes[0], batch)
        call.unify(axes[1], states[0][1])
    hidden = states[0][1]
    weights = [call[name] for name in ("w_ih", "w_hh", "b_ih", "b_hh") if call[name] is not None]
    _step(call, (batch,), channels, hidden, hidden, weights)
    call.produces(hidden)
    return states


def _step(
    call: Call,
    steps: Axes,
    channels: Layout,
    out: Layout,
    hidden: Layout,
    weights: Sequence[Tensor],
) -> None:
    """Unify the gates of what comes in, (gates * hidden, C), and of the state, (.., out)."""
    gates = GATES[call.op.removesuffix("_cell")]
    for tensor, columns in zip(weights, (channels, out, None, None), strict=False):
        rows, *inner = call.axes(tensor)
        call.unify(cut_equal(rows, gates, call.blame), hidden)
        if columns is not None:
            call.unify(inner[0], columns)
            call.macs(1, *steps, rows, columns)


def _listed(states: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [states] if isinstance(states, Tensor) else list(states)


@register_rule("_pack_padded_sequence")
def pack(call: Call) -> list[Axes]:
    """(T, B, *) to (steps of all sequences, *) and the number of sequences at each step."""
    axes = call.axes(call["input"])
    for axis in axes[:2]:
        call.pin(axis, "sequences are packed")
    steps, sizes = call.plain()
    return [(steps[0], *axes[2:]), sizes]


@register_rule("_pad_packed_sequence")
def pad(call: Call) -> list[Axes]:
    """(steps of all sequences, *) to (T, B, *), or (B, T, *), and the lengths."""
    steps, *rest = call.axes(call["data"])
    call.pin(steps, "sequences are unpacked")
    padded, lengths = call.plain()
    return [(*padded[:2], *rest), lengths]
