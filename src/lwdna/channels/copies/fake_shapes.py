"""Run operators on fake tensors: the frequent ones by their shapes alone.

torch answers an operator on fake tensors by way of decompositions, caches and checks that take
tens to hundreds of microseconds each, longer than everything else tracing does. The operators that
make up a convolutional network have results whose shapes a line or two can tell. Each shortcut
below answers plain cases only: fake tensors of one type and device, row-major in memory, without
empty axes and with shapes that fit. It returns None for all others, which then take torch's own
way and raise torch's own errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    FakeTensor,
    FakeTensorMode,
    in_kernel_invocation_manager,
)

aten = torch.ops.aten

Shape = Sequence[int]
Shortcut = Callable[..., Any]

SHORTCUTS: dict[Any, Shortcut] = {}
"""By operator: a function of mode and arguments that returns the result, or None to decline."""


def run(fake: FakeTensorMode, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call an operator under ``fake``, or make its results from their shapes."""
    shortcut = SHORTCUTS.get(func)
    if shortcut is not None:
        found = shortcut(fake, *args, **kwargs)
        if found is not None:
            return found
    return func(*args, **kwargs)


def fake_like(fake: FakeTensorMode, tensor: Tensor, shape: Shape) -> Tensor:
    """Return a fake tensor of another shape, otherwise alike; one without a device is on the CPU.

    Torch's modes are passed by: each tensor would go through the whole dispatch operators need.
    """
    device = torch.device("cpu") if tensor.device.type == "meta" else tensor.device
    return _fake(fake, shape, tensor.dtype, device)


def _fake(fake: FakeTensorMode, shape: Shape, dtype: Any, device: torch.device) -> Tensor:
    with torch._C._DisableTorchDispatch():  # type: ignore[attr-defined]
        data = torch.empty(shape, dtype=dtype, device="meta")
        return FakeTensor(fake, data, device)


def _new(fake: FakeTensorMode, like: Any, shape: Shape) -> Tensor:
    return _fake(fake, shape, like.dtype, like.fake_device)


def _plain(*tensors: Any) -> bool:
    """Tell whether these are fake tensors of one type and device, row-major and not empty."""
    first = tensors[0]
    for tensor in tensors:
        if (
            not isinstance(tensor, FakeTensor)
            or tensor.dtype is not first.dtype
            or tensor.fake_device != first.fake_device
            or tensor.constant is not None
            or 0 in tensor.shape
            or not _row_major(tensor)
        ):
            return False
    return bool(first.dtype.is_floating_point)


def _row_major(tensor: Tensor) -> bool:
    """Tell whether memory is laid out as usual, axes of length one included.

    Of (C, 1, 3, 3) torch calls two orders contiguous, and takes one of them for channels last.
    """
    step = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if stride != step:
            return False
        step *= size
    return True


def _shortcut(*operators: Any) -> Callable[[Shortcut], Shortcut]:
    def register(function: Shortcut) -> Shortcut:
        SHORTCUTS.update(dict.fromkeys(operators, function))
        return function

    return register


@_shortcut(aten.empty.memory_format)
def _empty(fake: FakeTensorMode, size: Shape, **kwargs: Any) -> Tensor | None:
    """Every batch normalisation makes one, and does not use it."""
    if kwargs.keys() != {"dtype", "layout", "device"} or kwargs["layout"] is not torch.strided:
        return None
    return _fake(fake, size, kwargs["dtype"], kwargs["device"])


@_shortcut(torch.ops.prim.device.default)
def _device(fake: FakeTensorMode, x: Any) -> torch.device | None:
    return x.fake_device if isinstance(x, FakeTensor) else None


@_shortcut(
    aten.elu.default,
    aten.gelu.default,
    aten.hardsigmoid.default,
    aten.hardswish.default,
    aten.hardtanh.default,
    aten.leaky_relu.default,
    aten.mish.default,
    aten.relu.default,
    aten.rsqrt.default,
    aten.sigmoid.default,
    aten.silu.default,
    aten.softplus.default,
    aten.sqrt.default,
    aten.tanh.default,
)
def _unary(fake: FakeTensorMode, x: Any, *_: Any, **__: Any) -> Tensor | None:
    return _new(fake, x, x.shape) if _plain(x) else None


@_shortcut(
    aten.elu_.default,
    aten.hardsigmoid_.default,
    aten.hardswish_.default,
    aten.hardtanh_.default,
    aten.leaky_relu_.default,
    aten.mish_.default,
    aten.relu_.default,
    aten.sigmoid_.default,
    aten.silu_.default,
    aten.tanh_.default,
)
def _unary_in_place(fake: FakeTensorMode, x: Any, *_: Any, **__: Any) -> Tensor | None:
    return x if _plain(x) else None


@_shortcut(aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
def _binary(fake: FakeTensorMode, x: Any, y: Any, **_: Any) -> Tensor | None:
    if type(y) in (int, float):
        return _new(fake, x, x.shape) if _plain(x) else None
    if not _plain(x, y):
        return None
    if _spreads(y.shape, x.shape):
        return _new(fake, x, x.shape)
    return _new(fake, x, y.shape) if _spreads(x.shape, y.shape) else None


@_shortcut(aten.add_.Tensor, aten.sub_.Tensor, aten.mul_.Tensor, aten.div_.Tensor)
def _binary_in_place(fake: FakeTensorMode, x: Any, y: Any, **_: Any) -> Tensor | None:
    if type(y) in (int, float):
        return x if _plain(x) else None
    return x if _plain(x, y) and _spreads(y.shape, x.shape) else None


def _spreads(small: Shape, large: Shape) -> bool:
    """Tell whether broadcasting ``small`` against ``large`` gives the shape ``large``."""
    return small == large or (
        len(small) == len(large) and all(s in (1, t) for s, t in zip(small, large, strict=True))
    )


@_shortcut(aten.cat.default)
def _cat(fake: FakeTensorMode, tensors: Any, dim: int = 0) -> Tensor | None:
    if not _plain(*tensors):
        return None
    shape = list(tensors[0].shape)
    if any(tensor.ndim != len(shape) for tensor in tensors):
        return None
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    dim %= len(shape)
    fits = all(
        s == t
        for tensor in tensors
        for d, (s, t) in enumerate(zip(tensor.shape, shape, strict=True))
        if d != dim
    )
    return _new(fake, tensors[0], shape) if fits else None


@_shortcut(aten.mean.dim)
def _mean(
    fake: FakeTensorMode, x: Any, dim: Any, keepdim: bool = False, **kwargs: Any
) -> Tensor | None:
    if kwargs or not dim or not _plain(x):
        return None
    gone = {d % x.ndim for d in dim}
    if len(gone) != len(dim):
        return None
    shape = [1 if d in gone else s for d, s in enumerate(x.shape) if keepdim or d not in gone]
    return _new(fake, x, shape)


@_shortcut(aten.native_batch_norm.default)
def _batch_norm(
    fake: FakeTensorMode,
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    training: bool,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor] | None:
    channels = [tensor for tensor in (weight, bias, mean, var) if tensor is not None]
    if not isinstance(x, FakeTensor) or any(t.shape != x.shape[1:2] for t in channels):
        return None
    saved = _new(fake, x, (x.shape[1] if training else 0,))
    return _new(fake, x, x.shape) if x.is_contiguous() else torch.empty_like(x), saved, saved


@_shortcut(aten.addmm.default)
def _addmm(fake: FakeTensorMode, bias: Any, x: Any, weight: Any, **_: Any) -> Tensor | None:
    """Weight is (inputs, outputs), as a rule a transposed view."""
    fits = (
        isinstance(weight, FakeTensor)
        and _plain(bias, x)
        and weight.dtype is x.dtype
        and weight.fake_device == x.fake_device
        and (x.ndim, weight.ndim) == (2, 2)
        and x.shape[1] == weight.shape[0]
        and bias.shape == weight.shape[1:]
    )
    return _new(fake, x, (x.shape[0], weight.shape[1])) if fits else None


@_shortcut(aten.convolution.default)
def _convolution(
    fake: FakeTensorMode,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    transposed: bool,
    output_padding: Shape,
    groups: int,
) -> Tensor | None:
    rank = weight.ndim - 2
    if transposed or x.ndim != weight.ndim or not rank == len(stride) == len(padding):
        return None
    if not _plain(x, weight, *(() if bias is None else (bias,))):
        return None
    outputs, inputs, *kernel = weight.shape
    if x.shape[1] != inputs * groups or outputs % groups or len(dilation) != rank:
        return None
    if bias is not None and bias.shape != (outputs,):
        return None
    space = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    ]
    return _new(fake, x, (x.shape[0], outputs, *space)) if min(space) > 0 else None


def _view(func: Any, fake: FakeTensorMode, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Let torch itself make the view, without what it does around that for fake tensors."""
    if not isinstance(x, FakeTensor) or x.constant is not None or not _row_major(x):
        return None
    device = x.fake_device
    with in_kernel_invocation_manager(fake):
        found = func(x, *args, **kwargs)
        if isinstance(found, Tensor):
            return FakeTensor(fake, found, device)
        return [FakeTensor(fake, part, device) for part in found]


VIEWS = (
    aten.alias.default,
    aten.expand.default,
    aten.permute.default,
    aten.slice.Tensor,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.t.default,
    aten.transpose.int,
    aten.unsqueeze.default,
    aten.view.default,
)
SHORTCUTS.update({view: partial(_view, view) for view in VIEWS})


def _sequences(
    gates: int, fake: FakeTensorMode, x: Any, states: Any, weights: Any, *built: Any
) -> tuple[Tensor, ...] | None:
    """(T, B, C), or (B, T, C), through recurrent layers: torch would take step by step."""
    *_, bidirectional, batch_first = built
    states = [states] if isinstance(states, Tensor) else list(states)
    if x.ndim != 3 or not _recurs(gates, x, states, weights, built):
        return None
    time, batch = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    if states[0].shape[1] != batch:
        return None
    result = _new(fake, x, (time, batch, states[0].shape[2] * (1 + bidirectional)))
    if batch_first:
        result = _view(aten.transpose.int, fake, result, 0, 1)
    return result, *(_new(fake, state, state.shape) for state in states)


def _packed(
    gates: int, fake: FakeTensorMode, x: Any, sizes: Any, states: Any, weights: Any, *built: Any
) -> tuple[Tensor, ...] | None:
    """(steps, C) of sequences of several lengths, ``sizes`` of which go on at each step."""
    states = [states] if isinstance(states, Tensor) else list(states)
    if x.ndim != 2 or not _recurs(gates, x, states, weights, built):
        return None
    result = _new(fake, x, (x.shape[0], states[0].shape[2] * (1 + built[4])))
    return result, *(_new(fake, state, state.shape) for state in states)


def _recurs(gates: int, x: Any, states: Any, weights: Any, built: Sequence[Any]) -> bool:
    """Tell whether what comes in, states and weights fit together.

    ``built`` begins with: are there biases, layers, dropout, is it training, both directions.
    """
    biases, layers, _, _, bidirectional, *_ = built
    if not _plain(*states, *weights) or x.dtype is not states[0].dtype or 0 in x.shape:
        return False
    directions = 2 if bidirectional else 1
    narrow, hidden = states[0].shape[-1], states[-1].shape[-1]
    rows = gates * hidden
    shapes: list[Shape] = []
    for layer in range(layers):
        width = x.shape[-1] if layer == 0 else directions * narrow
        own: list[Shape] = [(rows, width), (rows, narrow), *[(rows,)] * (2 * biases)]
        shapes += [*own, *[(narrow, hidden)] * (narrow != hidden)] * directions
    count, batch = layers * directions, states[0].shape[1:2]
    return [tuple(weight.shape) for weight in weights] == shapes and all(
        state.ndim == 3 and state.shape[0] == count and state.shape[1:2] == batch
        for state in states
    )


for _layer, _gates in ((aten.gru, 3), (aten.lstm, 4), (aten.rnn_relu, 1), (aten.rnn_tanh, 1)):
    SHORTCUTS[_layer.input] = partial(_sequences, _gates)
    SHORTCUTS[_layer.data] = partial(_packed, _gates)
