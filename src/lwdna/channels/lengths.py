"""Whole numbers that know where they come from: a tensor's axis or a module's attribute.

``C // self.heads`` in a network's code is a number like any other to torch, but it says which
axis a new axis follows. While a network is recorded, the shapes it reads and the integers its
modules keep are :class:`Length`: integers that carry a *form*, a sum of units and a constant.
Where such a number becomes the size of an axis, axis and form are *tied*: they agree in number,
whatever the order of their channels. Numbers whose origin is lost (through floats, for example)
are plain ones; running the network again shows where that matters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import gcd
from typing import Any

from lwdna.channels.layout import (
    Blame,
    Layout,
    Segment,
    Unit,
    bind,
    mark_inexact,
    pin,
    reasons_of,
    resolve,
)

Form = Mapping[Unit | None, int]
"""A sum: coefficients by unit, the constant under None."""


def form_of(layout: Layout, factor: int = 1) -> Counter[Unit | None]:
    """Return ``factor`` times the length of an axis as a sum over its free units."""
    found: Counter[Unit | None] = Counter()
    for outer, unit, inner in resolve(layout):
        found[unit] += factor * outer * inner
    return found


class Length(int):
    """An integer that equals a form divided by a constant."""

    form: Layout
    divisor: int

    @staticmethod
    def of(layout: Layout, divisor: int = 1) -> Length:
        """Return the length of a layout, divided; both whole numbers."""
        value = sum(part.size for part in layout)
        length = Length(value // divisor)
        length.form, length.divisor = layout, divisor
        return length

    @property
    def moves(self) -> bool:
        """Whether any unit of the form is still free."""
        return any(unit is not None for _, unit, _ in resolve(self.form))

    def __floordiv__(self, other: Any) -> int:
        plain = int(self) // int(other)
        if type(other) not in (int, Length) or other < 1 or plain * int(other) != self:
            return plain
        return Length.of(self.form, self.divisor * int(other))

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Length) and other.moves:
            return other * int(self) if not self.moves else int(self) * int(other)
        if not isinstance(other, int) or other < 1:
            return int(self) * other
        factor = int(other)
        shared = gcd(factor, self.divisor)
        return Length.of(_times(self.form, factor // shared), self.divisor // shared)

    __rmul__ = __mul__

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, int) or other < 0 or self.divisor != 1:
            return int(self) + other
        if not isinstance(other, Length):
            return Length.of((*self.form, Segment(1, None, int(other))))
        return (
            Length.of((*self.form, *other.form)) if other.divisor == 1 else int(self) + int(other)
        )

    __radd__ = __add__

    def __deepcopy__(self, memo: Any) -> int:
        return int(self)

    def __reduce__(self) -> Any:
        return int, (int(self),)


def _times(layout: Layout, factor: int) -> Layout:
    """Return a layout ``factor`` times as long; the order of its channels does not matter here."""
    return tuple(Segment(part.outer * factor, part.unit, part.inner) for part in layout)


def tie(axis: Layout, length: Length, blame: Blame) -> None:
    """Let an axis and the number that was asked for as its size agree, whatever their widths.

    Only the numbers agree, not the channels index by index, so slices stay exact. What cannot be
    expressed is pinned.
    """
    balance = form_of(axis, length.divisor)
    balance.subtract(form_of(length.form))
    constant = balance.pop(None, 0)
    terms = {unit: count for unit, count in balance.items() if unit is not None and count}
    if not terms:
        return
    for unit in terms:
        others = {other: -count for other, count in terms.items() if other is not unit}
        if others and _settled(unit, terms[unit], others, -constant):
            return
    if len(terms) == 2 and constant == 0:
        (one, count), (two, other) = terms.items()
        if count * other < 0:
            shared = gcd(count, other)
            common = Unit(one.size * shared // abs(other))
            bind(one, (Segment(abs(other) // shared, common, 1),))
            bind(two, (Segment(abs(count) // shared, common, 1),))
            return
    known = [*reasons_of(axis), *reasons_of(length.form)]
    reason = known[0] if known else blame("its size is asked for where it cannot follow")
    pin(tuple(Segment(1, unit, 1) for unit in terms), reason)


def _settled(unit: Unit, count: int, others: Mapping[Unit, int], constant: int) -> bool:
    """Bind a unit where it is a sum of whole multiples of the others and a constant."""
    counts = [*others.values(), constant]
    if any(other % count or other // count < 0 for other in counts):
        return False
    parts = [Segment(other // count, each, 1) for each, other in others.items()]
    fixed = [Segment(1, None, constant // count)] if constant else []
    bind(unit, (*parts, *fixed))
    return True


def scaled_by(length: Length, blame: Blame) -> None:
    """Note that a number computed from this length enters the network's arithmetic."""
    mark_inexact(length.form, blame("a number follows from this width"))
