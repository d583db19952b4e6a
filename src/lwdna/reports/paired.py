"""Two trainings compared example by example: what one run can say, and what it cannot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lwdna.engine.task import Metric
from lwdna.reports.axes import Axis, axis_around
from lwdna.reports.formats import format_difference
from lwdna.reports.statistics import Floats, Interval, examples_interval

Kind = Literal["better", "worse", ""]

_MARGINS = {"%": 1.0, "dB": 0.1}
"""By unit: two networks that surely differ by at most so much are called as good as each other."""
_ROUNDING = 1e-3
"""By how much of an outcome's usual size a metric may differ from the outcomes' mean."""


@dataclass(frozen=True)
class Paired:
    """The outcomes of two trainings on the same validation examples."""

    count: int
    """Number of examples."""
    right: tuple[int, int] | None
    """How many the baseline and the network found got right, where outcomes are right or wrong."""
    mean: float
    """The network found minus the baseline, in the metric's unit."""
    interval: Interval
    """95 %, over the examples alone."""


def pair(
    metric: Metric, values: tuple[float, float], outcomes: tuple[Floats | None, Floats | None]
) -> Paired | None:
    """Compare two trainings example by example, ``None`` where that cannot be.

    Args:
        metric: the primary metric.
        values: that of the baseline and of the network found.
        outcomes: those of the baseline and of the network found, shape (N,) each.
    """
    first, second = outcomes
    if first is None or second is None or first.shape != second.shape:
        return None
    if not metric.mean_of_examples or not all(map(_agrees, values, (first, second))):
        return None
    interval = examples_interval(first, second)
    if interval is None:
        return None
    binary = metric.unit == "%" and bool(np.isin(np.stack([first, second]), (0, 100)).all())
    right = (int((first == 100).sum()), int((second == 100).sum())) if binary else None
    return Paired(len(first), right, float(second.mean() - first.mean()), interval)


def _agrees(value: float, outcomes: Floats) -> bool:
    """Whether a metric is the mean of its outcomes, and all of them are finite."""
    size = float(np.abs(outcomes).mean())
    return abs(float(outcomes.mean()) - value) <= _ROUNDING * size


def kind_of(metric: Metric, interval: Interval | None) -> Kind:
    """Return whether a difference with this interval is beyond noise, and how."""
    if interval is None:
        return ""
    low, high = interval
    if low <= 0 <= high:
        return ""
    return "better" if metric.better(low, 0) else "worse"


def badge(metric: Metric, interval: Interval | None, what: str = "with this seed") -> str:
    """Return in a few words what an interval of the difference says.

    Args:
        metric: what differs.
        interval: 95 %, ``None`` if there is none.
        what: what the interval rests on, as in "with this seed".
    """
    if interval is None:
        return "cannot tell"
    if kind := kind_of(metric, interval):
        return f"{kind} {what}"
    digits = 1 if metric.unit == "%" else metric.digits
    bound = max(map(abs, interval))
    bound = math.ceil(bound * 10**digits) / 10**digits
    if bound <= _MARGINS.get(metric.unit, 0.0):
        within = format_difference(bound, in_words(metric), signed=False)
        return f"as good within {within} {what}"
    return "cannot tell"


def in_words(metric: Metric) -> Metric:
    """Return a metric with the decimal places worth saying: a tenth of a point is enough."""
    digits = min(metric.digits, 1) if metric.unit == "%" else metric.digits
    return Metric(metric.name, metric.title, metric.unit, digits, metric.higher_is_better)


@dataclass(frozen=True)
class IntervalBar:
    """An interval as a picture: places between 0 and 1."""

    zero: float
    low: float
    high: float
    mean: float
    text: str
    over: str
    """What it is an interval over, as in "the validation examples only"."""
    kind: Kind


def interval_text(metric: Metric, interval: Interval) -> str:
    """Return an interval, ``"−0.8 to +3.0"``."""
    return " to ".join(format_difference(end, metric).partition(" ")[0] for end in interval)


def interval_bar(metric: Metric, mean: float, interval: Interval, over: str) -> IntervalBar:
    """Return where an interval lies beside no difference.

    Args:
        metric: what differs.
        mean: the difference.
        interval: that of the difference.
        over: what it is an interval over.
    """
    axis: Axis = axis_around([*interval, mean, 0.0])
    zero, least, most, middle = (axis.position(value) for value in (0.0, *interval, mean))
    unit = format_difference(1.0, metric).partition(" ")[2]
    text = f"{interval_text(in_words(metric), interval)} {unit}".rstrip()
    return IntervalBar(zero, least, most, middle, text, over, kind_of(metric, interval))
