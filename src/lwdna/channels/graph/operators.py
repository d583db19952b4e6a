"""The operators of a forward pass as data: their tensors' axes, arguments and multiply-accumulates.

At any widths, an operator's arguments and the shapes of its tensors follow, so that its time can
be measured without the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from lwdna.channels.graph.axes import AxisLayout, GroupWidths
from lwdna.channels.rules import rule_of


@dataclass(frozen=True)
class Slot:
    """The place of a tensor among an operator's arguments: that of input number ``index``."""

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
class MacTerm:
    """Multiply-accumulates: ``count`` times the product of the axes' lengths."""

    count: int
    axes: tuple[AxisLayout, ...]

    @property
    def groups(self) -> set[int]:
        """The groups on whose widths the number depends."""
        return {group for axis in self.axes for group in axis.groups}

    def at(self, widths: GroupWidths) -> int:
        """Return the number at the given widths."""
        product = self.count
        for axis in self.axes:
            product *= axis.length(widths)
        return product


@dataclass(frozen=True)
class Operator:
    """One call of an ATen operator while the network runs.

    An operator that only moves, adds or scales values has no ``terms``; one that makes new
    channels says which ones it ``produces``.
    """

    full_name: str
    """With namespace and overload: ``"aten.convolution.default"``."""
    module: str
    """Path of the module in whose ``forward`` it ran; empty for the network itself."""
    inputs: tuple[TensorForm, ...]
    """All tensors among the arguments, those in lists included."""
    outputs: tuple[tuple[AxisLayout, ...], ...]
    """The axes of its results."""
    arguments: tuple[Any, ...] = ()
    """In the order of its schema, a :class:`Slot` in place of each tensor."""
    terms: tuple[MacTerm, ...] = ()
    """Its multiply-accumulates are the sum of these."""
    produces: tuple[AxisLayout, ...] = ()

    @property
    def op(self) -> str:
        """The name alone: ``"convolution"``."""
        return self.full_name.split(".")[1]

    @property
    def overload(self) -> Any:
        """What torch calls: the operator itself."""
        namespace, name, overload = self.full_name.split(".")
        if namespace == "torchvision":  # its operators exist once it is imported
            import_module(namespace)
        return getattr(getattr(getattr(torch.ops, namespace), name), overload)

    @property
    def input_axes(self) -> tuple[tuple[AxisLayout, ...], ...]:
        """The axes of its inputs."""
        return tuple(form.axes for form in self.inputs)

    @property
    def groups(self) -> set[int]:
        """The groups that play a part in it."""
        return {
            group
            for axes in (*self.input_axes, *self.outputs)
            for axis in axes
            for group in axis.groups
        }

    def macs(self, widths: GroupWidths) -> int:
        """Return its multiply-accumulates."""
        return sum(term.at(widths) for term in self.terms)

    def arguments_at(self, shapes: Sequence[Sequence[int]]) -> tuple[Any, ...]:
        """Return the arguments that fit inputs of other shapes, as the operator's rule says."""
        overload = self.overload
        rule = rule_of(overload)
        if rule is None or rule.adapt is None:
            return self.arguments
        names = [argument.name for argument in overload._schema.arguments]
        changed = rule.adapt(dict(zip(names, self.arguments, strict=True)), shapes)
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
