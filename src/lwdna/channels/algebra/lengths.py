"""Whole numbers that know where they come from: a tensor's axis or a module's attribute.

``C // self.heads`` in a network's code is a number like any other to torch, but it says which
axis a new axis follows. While a network is recorded, the shapes it reads and the integers its
modules keep are :class:`Length`: integers that remember which axes they were computed from. Where
such a number becomes the size of an axis, both are *tied*: they agree in number, whatever the
order of their channels. Where an origin is lost (through floats, for example), running the network
again shows whether that matters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import gcd, prod
from typing import Any

from lwdna.channels.algebra.layout import (
    Blame,
    Layout,
    Reason,
    Segment,
    Unit,
    bind,
    fixed,
    mark_computed,
    pin,
    reasons_of,
    resolve,
    size_of,
    units_of,
)
from lwdna.channels.algebra.source import user_line


class Setting(Unit):
    """An integer of a module: nothing is known of it until it is asked for as a size."""

    __slots__ = ()


def setting(size: int) -> Layout:
    """Return the layout of a module's integer."""
    return (Segment(1, Setting(size), 1),)


class Length(int):
    """A product of axis lengths divided by a constant; without ``factors``, of origin unknown."""

    factors: tuple[Layout, ...] | None
    divisor: int

    @staticmethod
    def of(layout: Layout) -> Length:
        """Return the length of an axis."""
        return Length._new(size_of(layout), (layout,))

    @staticmethod
    def _new(value: int, factors: tuple[Layout, ...] | None, divisor: int = 1) -> Length:
        length = Length(value)
        length.factors, length.divisor = factors, divisor
        return length

    @property
    def vary(self) -> int:
        """Whether the number varies with widths: 1 yes, -1 no, 0 where that is not known."""
        units = [unit for factor in self.factors or () for unit in units_of(factor)]
        if self.factors is None or (units and all(isinstance(unit, Setting) for unit in units)):
            return 0
        return 1 if units else -1

    @property
    def _axis(self) -> Layout | None:
        """The number as the length of one axis, if it is one."""
        if self.vary < 0:
            return fixed(int(self))
        return self.factors[0] if self.factors and self.divisor == len(self.factors) == 1 else None

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return self.enters_arithmetic() * other
        value = int(self) * int(other)
        if not isinstance(other, Length):
            other = Length.of(fixed(int(other))) if other > 0 else Length._new(other, None)
        if self.factors is None or other.factors is None:
            return Length._new(value, None)
        return Length._new(value, self.factors + other.factors, self.divisor * other.divisor)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        value = int(self) // other
        if not isinstance(other, int):
            return value
        exact = self.factors is not None and value * other == int(self)
        return Length._new(
            int(value), self.factors if exact else None, self.divisor * int(other) if exact else 1
        )

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return int(self) + other
        one = self._axis
        two = other._axis if isinstance(other, Length) else fixed(other) if other >= 0 else None
        known = one is not None and two is not None
        return Length._new(int(self) + int(other), ((*one, *two),) if known else None)  # type: ignore[misc]

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        value = int(self) - other
        return Length._new(value, None) if isinstance(other, int) else value

    def __rsub__(self, other: Any) -> Any:
        value = other - int(self)
        return Length._new(value, None) if isinstance(other, int) else value

    def enters_arithmetic(self) -> int:
        """Note that other numbers than sizes follow from this width; return the plain number."""
        for factor in self.factors or ():
            mark_computed(factor, Reason("a value is computed from this width", line=user_line()))
        return int(self)

    def __float__(self) -> float:
        return float(self.enters_arithmetic())

    def __truediv__(self, other: Any) -> Any:
        return self.enters_arithmetic() / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.enters_arithmetic()

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        return pow(self.enters_arithmetic(), other, modulus)

    def __deepcopy__(self, memo: Any) -> int:
        return int(self)

    def __reduce__(self) -> Any:
        return int, (int(self),)


def tie(axis: Layout, length: Length, blame: Blame) -> None:
    """Let an axis and the number that was asked for as its size agree, whatever their widths.

    Only the numbers agree, not the channels index by index, so slices stay exact. What cannot be
    expressed is pinned.
    """
    chosen = _varying(length, blame)
    if chosen is None:
        return
    balance = _units(axis, length.divisor)
    balance.subtract(_units(chosen, int(length) * length.divisor // size_of(chosen)))
    constant = balance.pop(None, 0)
    terms = {unit: count for unit, count in balance.items() if unit is not None and count}
    if not terms:
        return
    for unit in reversed(terms):
        others = {other: -count for other, count in terms.items() if other is not unit}
        if others and _settled(unit, terms[unit], others, -constant):
            return
    if len(terms) == 2 and constant == 0 and min(terms.values()) < 0 < max(terms.values()):
        (one, count), (two, other) = terms.items()
        shared = gcd(count, other)
        common = Unit(one.size * shared // abs(other))
        bind(one, (Segment(abs(other) // shared, common, 1),))
        bind(two, (Segment(abs(count) // shared, common, 1),))
        return
    known = [*reasons_of(axis), *reasons_of(chosen)]
    reason = known[0] if known else blame("its size is asked for where it cannot follow")
    pin(tuple(Segment(1, unit, 1) for unit in terms), reason)


def _varying(length: Length, blame: Blame) -> Layout | None:
    """Return the factor that varies, the others taken as constants; None if several might."""
    if length.factors is None or not length:
        return None
    moving = [factor for factor in length.factors if units_of(factor)]
    known = [f for f in moving if not all(isinstance(unit, Setting) for unit in units_of(f))]
    if len(known or moving) > 1:
        return None
    chosen = (known or moving or [fixed(prod(map(size_of, length.factors)))])[0]
    for factor in moving:
        if factor is not chosen:
            pin(factor, blame("a factor of a size"))
    for unit in units_of(chosen):
        if isinstance(unit, Setting):
            bind(unit, (Segment(1, Unit(unit.size), 1),))
    return chosen


def _units(layout: Layout, times: int) -> Counter[Unit | None]:
    """Return a multiple of an axis' length as a sum: coefficients by unit, a constant by None."""
    found: Counter[Unit | None] = Counter()
    for outer, unit, inner in resolve(layout):
        found[unit] += times * outer * inner
    return found


def _settled(unit: Unit, count: int, others: Mapping[Unit, int], constant: int) -> bool:
    """Bind a unit where it is a sum of whole multiples of the others and a constant."""
    if any(other % count or other // count < 0 for other in (*others.values(), constant)):
        return False
    parts = [Segment(other // count, each, 1) for each, other in others.items()]
    bind(unit, (*parts, *fixed(constant // count)) if constant else tuple(parts))
    return True
