"""Operator calls of a forward pass as data, at any widths: what to measure their times with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lwdna.channels.graph.graph import AxisLayout


@dataclass(frozen=True)
class Slot:
    """The place of a tensor, by its position, among a call's arguments."""

    index: int


@dataclass(frozen=True)
class TensorForm:
    """A tensor without values: its axes, and how it lies in memory."""

    axes: tuple[AxisLayout, ...]
    dtype: str
    order: tuple[int, ...] | None = None
    """Axes from the slowest to the fastest, where the tensor is not contiguous."""
    constant: bool = False
    """Whether it is there before the forward pass: a parameter, buffer or constant."""


@dataclass(frozen=True)
class OperatorCall:
    """One call of an ATen operator; ``arguments`` are in the order of its schema."""

    op: str
    module: str
    tensors: tuple[TensorForm, ...]
    arguments: tuple[Any, ...]

    @property
    def overload(self) -> Any:
        """The operator itself."""
        namespace, name, overload = self.op.split(".")
        return getattr(getattr(getattr(torch.ops, namespace), name), overload)

    def at(self, shapes: Sequence[Sequence[int]]) -> tuple[Any, ...]:
        """Return the arguments, tensors as slots, that fit tensors of other shapes."""
        adapt = _ADAPT.get(self.op.partition(".")[2].partition(".")[0])
        if adapt is None:
            return self.arguments
        names = [argument.name for argument in self.overload._schema.arguments]
        changed = adapt(dict(zip(names, self.arguments, strict=True)), shapes)
        return tuple(changed[name] for name in names)


def slots(values: Sequence[Any]) -> tuple[Any, ...]:
    """Replace tensors by slots, also those in lists, in the order of ``Call.tensors``."""
    count = 0

    def plain(value: Any) -> Any:
        nonlocal count
        if isinstance(value, Tensor):
            count += 1
            return Slot(count - 1)
        if isinstance(value, list | tuple):
            return tuple(plain(item) for item in value)
        # sizes may be integers that know where they come from
        return int(value) if isinstance(value, int) and not isinstance(value, bool) else value

    return tuple(plain(value) for value in values)


def memory_order(tensor: Tensor) -> tuple[int, ...] | None:
    """Return :attr:`TensorForm.order` of a tensor."""
    if tensor.is_contiguous():
        return None
    strides = tensor.stride()
    return tuple(sorted(range(tensor.ndim), key=lambda axis: -strides[axis]))


Named = dict[str, Any]


def _convolution(named: Named, shapes: Sequence[Sequence[int]]) -> Named:
    """Of a depthwise convolution the groups follow the channels."""
    weight = shapes[1]
    if not named["transposed"] and named["groups"] > 1:
        return {**named, "groups": shapes[0][1] // weight[1]}
    if named["transposed"] and weight[1] == 1 and named["groups"] > 1:
        return {**named, "groups": weight[0]}
    return named


def _group_norm(named: Named, shapes: Sequence[Sequence[int]]) -> Named:
    return {**named, "C": shapes[0][1]}


def _layer_norm(named: Named, shapes: Sequence[Sequence[int]]) -> Named:
    rank = len(named["normalized_shape"])
    return {**named, "normalized_shape": tuple(shapes[0][-rank:])}


_ADAPT: Mapping[str, Callable[[Named, Sequence[Sequence[int]]], Named]] = {
    "convolution": _convolution,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
}
"""Operators that take sizes which follow the widths. Others are measured as traced."""
