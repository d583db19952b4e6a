"""What a rule sees of one operator call: its arguments, their layouts and a few verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lwdna.channels.algebra import layout as algebra
from lwdna.channels.algebra.layout import Layout, Reason, fixed
from lwdna.channels.algebra.lengths import Length, tie
from lwdna.channels.algebra.source import user_line

Axes = tuple[Layout, ...]
"""One layout per axis of a tensor."""


@dataclass
class Term:
    """Multiply-accumulates of one operator: ``count`` times the product of axis lengths."""

    count: int
    layouts: tuple[Layout, ...]


@dataclass
class Call:
    """One call of an ATen operator during tracing.

    ``call["weight"]`` is the argument of that name in the operator's schema;
    ``call.axes(tensor)`` its layouts. A rule may ``unify`` layouts, ``pin`` them, mark them
    ``inexact``, declare ``macs`` and say which axis an operator ``produces``; it returns the axes
    of the outputs.
    """

    op: str
    module: str
    arguments: dict[str, Any]
    outputs: list[Tensor]
    lookup: Callable[[Tensor], Axes]
    asked: Sequence[int] = ()
    """Integers in the network's own call that led to this operator, as far as they are sizes."""
    terms: list[Term] = field(default_factory=list)
    produced: list[Layout] = field(default_factory=list)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the argument of that name, or ``default`` where the operator has none."""
        return self.arguments.get(name, default)

    @property
    def tensors(self) -> list[Tensor]:
        """All tensor arguments in order, those in lists included."""
        return tensors_of(self.arguments.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the (first) output."""
        return tuple(self.outputs[0].shape)

    def axes(self, tensor: Tensor) -> Axes:
        return self.lookup(tensor)

    def blame(self, why: str) -> Reason:
        return Reason(why, self.op, self.module, user_line())

    def unify(self, left: Layout, right: Layout) -> None:
        algebra.unify(left, right, self.blame)

    def pin(self, layout: Layout, why: str) -> None:
        if not algebra.is_fixed(layout):
            algebra.pin(layout, self.blame(why))

    def mark_inexact(self, layout: Layout, why: str) -> None:
        if not algebra.is_fixed(layout):
            algebra.mark_inexact(layout, self.blame(why))

    def tie(self, layout: Layout, size: int) -> None:
        """Let an axis follow the number that its size was asked for with, if that has an origin."""
        if isinstance(size, Length):
            tie(layout, size, self.blame)

    def asked_for(self, sizes: Sequence[int]) -> Sequence[int]:
        """Return the sizes as the network's code asked for them, -1 included; else as they are."""
        fits = len(self.asked) == len(sizes) and all(
            asked in (size, -1) for asked, size in zip(self.asked, sizes, strict=True)
        )
        return self.asked if fits else sizes

    def macs(self, count: int, *layouts: Layout) -> None:
        """Declare ``count`` times the product of the axes' lengths as the operator's cost."""
        self.terms.append(Term(count, layouts))

    def produces(self, layout: Layout) -> None:
        """Say that this operator creates the channels of ``layout`` (it names their group)."""
        self.produced.append(layout)

    def dim(self, index: int, rank: int) -> int:
        """Return a non-negative axis index."""
        return index % rank if rank else 0

    def plain(self) -> list[Axes]:
        """Return axes of fixed length for every output."""
        return [tuple(fixed(size) for size in output.shape) for output in self.outputs]


def tensors_of(values: Iterable[Any]) -> list[Tensor]:
    """Return the tensors among an operator's arguments or results, and in lists of them."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found.extend(item for item in value if isinstance(item, Tensor))
    return found


def broadcast(call: Call, tensors: Sequence[Tensor]) -> Axes:
    """Unify the axes of ``tensors`` as broadcasting aligns them; return the result's axes."""
    shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
    result: list[Layout] = [fixed(size) for size in shape]
    seen = [False] * len(shape)
    for tensor in tensors:
        offset = len(shape) - tensor.ndim
        for axis, layout in enumerate(call.axes(tensor)):
            position = offset + axis
            if tensor.shape[axis] != shape[position]:
                call.pin(layout, "a single channel is broadcast")
            elif seen[position]:
                call.unify(result[position], layout)
            else:
                result[position], seen[position] = layout, True
    return tuple(result)
