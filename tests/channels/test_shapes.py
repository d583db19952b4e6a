"""Shortcuts say of an operator's results what torch itself says on fake tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from lwdna.channels.copies import fake_shapes as shapes

aten = torch.ops.aten
settings.register_profile("slow machines", deadline=None)
settings.load_profile("slow machines")
FAKE = FakeTensorMode(allow_non_fake_inputs=True)
SIZES = st.sampled_from([1, 2, 3, 4, 6])
DTYPES = st.sampled_from([torch.float32, torch.float32, torch.float64, torch.float16, torch.int64])
ORDERS = ("contiguous", "contiguous", "channels last", "transposed", "sliced")

UNARY = ["elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "relu"]
UNARY += ["rsqrt", "sigmoid", "silu", "softplus", "sqrt", "tanh"]
BINARY = ["add", "sub", "mul", "div"]
OPERATORS = {str(operator): operator for operator in shapes.SHORTCUTS}


def named(names: list[str], overload: str = "default") -> list[Any]:
    """Return the operators of these names that have shortcuts, and their in-place namesakes."""
    both = [f"aten.{name}{end}.{overload}" for name in names for end in ("", "_")]
    return [OPERATORS[name] for name in both if name in OPERATORS]


def tensor(shape: tuple[int, ...], order: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a fake tensor whose memory is laid out in some order."""
    with FAKE:
        if order == "channels last" and len(shape) == 4:
            return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
        if order == "transposed" and len(shape) > 1:
            return torch.empty(shape[::-1], dtype=dtype).permute(*range(len(shape))[::-1])
        if order == "sliced":
            return torch.empty((*shape[:-1], shape[-1] + 1), dtype=dtype)[..., :-1]
        return torch.empty(shape, dtype=dtype)


@st.composite
def tensors(draw: Any, ranks: tuple[int, ...] = (4, 4, 2, 3)) -> Tensor:
    shape = tuple(draw(SIZES) for _ in range(draw(st.sampled_from(ranks))))
    return tensor(shape, draw(st.sampled_from(ORDERS)), draw(DTYPES))


def described(result: Any, given: Any) -> Any:
    """Return what a network can see: shape, strides, type, device, whose."""
    if isinstance(result, Tensor):
        place = [result is argument for argument in given if isinstance(argument, Tensor)]
        offset = result.storage_offset()
        kind = (type(result), result.dtype, result.device, result.is_contiguous())
        return (tuple(result.shape), result.stride() if result.numel() else (), offset, kind, place)
    return [described(part, given) for part in result]


def agree(operator: Any, *args: Any, **kwargs: Any) -> None:
    """Compare the shortcut with torch, refusals included."""
    answers = []
    with torch.no_grad(), FAKE:
        for call in (
            lambda: shapes.run(FAKE, operator, args, kwargs),
            lambda: operator(*args, **kwargs),
        ):
            try:
                answers.append(described(call(), args))
            except (RuntimeError, IndexError, ValueError):
                answers.append("refused")
    assert answers[0] == answers[1], operator


@given(st.sampled_from(named(UNARY)), tensors())
def test_unary(operator, x):
    agree(operator, x)


@given(st.data(), st.sampled_from(named(BINARY, "Tensor")), tensors())
def test_binary(data, operator, x):
    shape = tuple(data.draw(st.sampled_from([size, size, 1])) for size in x.shape)
    y = tensor(
        shape[data.draw(st.sampled_from([0, 0, 0, 1])) :],
        data.draw(st.sampled_from(ORDERS)),
        data.draw(st.sampled_from([x.dtype, x.dtype, torch.float32])),
    )
    agree(operator, x, y)
    agree(operator, y, x)
    agree(operator, x, data.draw(st.sampled_from([2, 0.5, True])))


@given(st.data(), tensors())
def test_cat(data, x):
    dim = data.draw(st.integers(-x.ndim, x.ndim - 1))
    others = []
    for _ in range(data.draw(st.integers(0, 2))):
        shape = list(x.shape)
        shape[data.draw(st.sampled_from([dim, dim, dim, 0]))] = data.draw(SIZES)
        order = data.draw(st.sampled_from(ORDERS))
        others.append(
            tensor(tuple(shape), order, data.draw(st.sampled_from([x.dtype, torch.float32])))
        )
    agree(aten.cat.default, [x, *others], dim)


@given(st.data(), tensors(), st.booleans())
def test_mean(data, x, keepdim):
    dims = data.draw(st.lists(st.integers(-x.ndim, x.ndim - 1), max_size=3))
    agree(aten.mean.dim, x, dims, keepdim)


@given(tensors((4, 2, 3)), st.booleans(), st.booleans())
def test_batch_norm(x, affine, training):
    per_channel = [tensor((x.shape[1],), "contiguous", x.dtype) for _ in range(4)]
    if not affine:
        per_channel[:2] = [None, None]
    if x.dtype is torch.float32 and not training and x.is_contiguous() and 1 not in x.shape:
        agree(aten.native_batch_norm.default, x, *per_channel, training, 0.1, 1e-5)
    (result, *_) = shapes.run(
        FAKE, aten.native_batch_norm.default, (x, *per_channel, training, 0.1, 1e-5), {}
    )
    assert (result.shape, result.dtype) == (x.shape, x.dtype)


@given(st.data(), SIZES, SIZES, SIZES)
def test_addmm(data, batch, inputs, outputs):
    order = st.sampled_from(ORDERS)
    x = tensor((batch, inputs), data.draw(order))
    weight = tensor((inputs, outputs), data.draw(order))
    bias = tensor((data.draw(st.sampled_from([outputs, outputs, 1])),), "contiguous")
    agree(aten.addmm.default, bias, x, weight)
    agree(aten.addmm.default, bias, weight, x)


@settings(max_examples=300)
@given(st.data(), st.integers(1, 3))
def test_convolution(data, rank):
    small = st.integers(1, 3)
    groups = data.draw(small)
    inputs, outputs = groups * data.draw(small), groups * data.draw(small)
    order = st.sampled_from(ORDERS)
    x = tensor(
        (data.draw(small), inputs, *(data.draw(st.integers(1, 7)) for _ in range(rank))),
        data.draw(order),
    )
    off = data.draw(st.sampled_from([0, 0, 0, 1]))
    kernel = tuple(data.draw(small) for _ in range(rank))
    weight = tensor((outputs, inputs // groups + off, *kernel), data.draw(order))
    bias = data.draw(st.sampled_from([None, tensor((outputs,), "contiguous")]))
    stride, dilation = ([data.draw(small) for _ in range(rank)] for _ in range(2))
    padding = [data.draw(st.integers(0, 2)) for _ in range(rank)]
    transposed = data.draw(st.sampled_from([False, False, False, True]))
    settings = (stride, padding, dilation, transposed, [0] * rank, groups)
    agree(aten.convolution.default, x, weight, bias, *settings)


LAYERS = {aten.gru: 3, aten.lstm: 4, aten.rnn_relu: 1, aten.rnn_tanh: 1}


def recurrent(data: Any, layer: Any, order: Any) -> tuple[Any, ...]:
    """Draw channels, states, weights and how a layer is built; the weights may not fit."""
    small = st.integers(1, 3)
    inputs, hidden, batch, layers = (data.draw(small) for _ in range(4))
    both, biases = data.draw(st.booleans()), data.draw(st.booleans())
    narrow = hidden + 1 if layer is aten.lstm and data.draw(st.booleans()) else hidden
    rows, directions = LAYERS[layer] * hidden, 2 if both else 1
    weights = []
    for index in range(layers):
        width = inputs if index == 0 else directions * narrow
        shapes = [(rows, width), (rows, narrow), *[(rows,)] * (2 * biases)]
        shapes += [(narrow, hidden)] * (narrow != hidden)
        weights += [tensor(shape, data.draw(order)) for shape in shapes * directions]
    if data.draw(st.sampled_from([0, 0, 0, 1])):
        weights = weights[:-1]
    states = [tensor((layers * directions, batch, size), "contiguous") for size in (narrow, hidden)]
    given = states if layer is aten.lstm else states[0]
    return inputs, batch, given, weights, (biases, layers, 0.0, False, both)


@given(st.data(), st.sampled_from(list(LAYERS)))
def test_recurrent_layers(data, layer):
    order = st.sampled_from(["contiguous", "contiguous", "transposed"])
    inputs, batch, states, weights, built = recurrent(data, layer, order)
    first, off = data.draw(st.booleans()), data.draw(st.sampled_from([0, 0, 0, 1]))
    time = data.draw(st.integers(1, 3))
    shape = (batch, time, inputs + off) if first else (time, batch, inputs + off)
    x = tensor(shape, data.draw(order))
    agree(layer.input, x, states, weights, *built, first)


@given(st.data(), st.sampled_from(list(LAYERS)))
def test_packed_sequences(data, layer):
    """On fake tensors torch cannot pack; so real ones are compared with."""
    inputs, batch, states, weights, built = recurrent(data, layer, st.just("contiguous"))
    sizes = [batch, *[1] * data.draw(st.integers(0, 2))]
    x = tensor((sum(sizes), inputs), "contiguous")

    def real(value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.zeros(value.shape)
        return [real(one) for one in value]

    found = shapes.SHORTCUTS[layer.data](FAKE, x, None, states, weights, *built)
    try:
        with torch.no_grad():
            expected = layer.data(real(x), torch.tensor(sizes), real(states), real(weights), *built)
    except RuntimeError:
        assert found is None
    else:
        assert [one.shape for one in found] == [one.shape for one in expected]


VIEWS = [
    (aten.alias.default, ()),
    (aten.expand.default, ([5, -1, -1, -1],)),
    (aten.permute.default, ([0, 2, 3, 1],)),
    (aten.slice.Tensor, (1, 1, 3)),
    (aten.split.Tensor, (2, 1)),
    (aten.split_with_sizes.default, ([1, 3, 2], 1)),
    (aten.t.default, ()),
    (aten.transpose.int, (1, -1)),
    (aten.unsqueeze.default, (-1,)),
    (aten.view.default, ([1, 2, 3, -1],)),
    (aten.view.default, ([1, 6, 20],)),
    (aten.view.default, ([7, -1],)),
]


@pytest.mark.parametrize("order", sorted(set(ORDERS)))
@pytest.mark.parametrize(("operator", "args"), VIEWS, ids=str)
def test_views(operator, args, order):
    agree(operator, tensor((1, 6, 4, 5), order), *args)
    agree(operator, tensor((1, 6, 4, 5), order)[:, 2:], *args)
    agree(operator, tensor((4, 6), order), *args)


def test_a_view_shares_the_memory_of_what_it_shows():
    x = tensor((1, 6, 4, 5), "contiguous")
    for operator, args in VIEWS[:1] + VIEWS[2:3]:
        shown = shapes.run(FAKE, operator, (x, *args), {})
        assert shown.untyped_storage()._cdata == x.untyped_storage()._cdata


def test_new_memory_and_the_device():
    agree(aten.empty.memory_format, [0], dtype=torch.uint8, layout=torch.strided, device="cpu")
    agree(aten.empty.memory_format, [2, 3], dtype=torch.int64, pin_memory=False)
    x = tensor((2, 3), "contiguous")
    with FAKE:
        device = torch.ops.prim.device.default
        assert shapes.run(FAKE, device, (x,), {}) == x.device == torch.device("cpu")


def test_every_shortcut_is_compared():
    compared = {*named(UNARY), *named(BINARY, "Tensor"), *(view for view, _ in VIEWS)}
    compared |= {aten.cat.default, aten.mean.dim, aten.native_batch_norm.default}
    compared |= {aten.addmm.default, aten.convolution.default, aten.empty.memory_format}
    compared |= {overload for layer in LAYERS for overload in (layer.input, layer.data)}
    assert compared | {torch.ops.prim.device.default} == set(shapes.SHORTCUTS)
