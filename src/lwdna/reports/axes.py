"""Axes of charts: where a value lies between 0 and 1, and where the ticks are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_WIDE_SPREAD = 50.0


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, ``position`` between 0 and 1."""

    position: float
    label: str


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic axis from ``low`` to ``high`` (both positive where logarithmic).

    ``step`` is the distance of the ticks of a linear axis that was made to fit them.
    """

    low: float
    high: float
    logarithmic: bool = False
    step: float | None = None

    def position(self, value: float) -> float:
        """Return where ``value`` lies, 0 at ``low`` and 1 at ``high``, clipped to the axis."""
        if self.logarithmic:
            if value <= self.low:
                return 0.0
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return min(max(part, 0.0), 1.0)

    def ticks(self, text: Callable[[float], str], count: int = 5) -> list[Tick]:
        """Return about ``count`` ticks at round values, labelled by ``text``."""
        values = self._log_values(count) if self.logarithmic else self._linear_values(count)
        return [Tick(self.position(value), text(value)) for value in values]

    def whole_ticks(self) -> list[Tick]:
        """Return the ticks at whole numbers, as of epochs."""
        return [tick for tick in self.ticks("{:g}".format) if "." not in tick.label]

    def _linear_values(self, count: int) -> list[float]:
        step = self.step or _round_step((self.high - self.low) / count)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def _log_values(self, count: int) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        mantissas = (1, 2, 5) if last - first < count / 2 else (1,)
        every = max(1, math.ceil((last - first) / count))
        values = [
            mantissa * 10.0**power
            for power in range(first, last + 1)
            if power % every == 0
            for mantissa in mantissas
        ]
        slack = 1 + 1e-9
        return [value for value in values if self.low / slack <= value <= self.high * slack]


def axis_from_zero(high: float) -> Axis:
    """Return a linear axis from 0 to ``high`` (to 1 where ``high`` is not positive)."""
    return Axis(0.0, high if high > 0 else 1.0)


def axis_around(values: list[float], count: int = 5) -> Axis:
    """Return a linear axis over finite ``values`` that begins and ends at a round tick."""
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        margin = abs(high) * 0.1 or 1.0
        low, high = low - margin, high + margin
    step = _round_step((high - low) / count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(first * step, last * step, step=step)


def axis_of_scores(low: float, high: float) -> Axis:
    """Return an axis for scores: logarithmic where the largest dwarfs the smallest."""
    if low > 0 and high / low > _WIDE_SPREAD:
        return Axis(low, high, logarithmic=True)
    return axis_from_zero(high)


def _round_step(step: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is at least ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
