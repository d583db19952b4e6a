"""Numbers as people read them: ``4.09 G``, ``25.6 M``, ``97.8 MB``, ``−8.0 %``."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lwdna.engine.task import Metric

MISSING = "–"
_MINUS = "−"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PREFIXES = ("", "k", "M", "G", "T", "P")


def format_count(value: float | None, unit: str = "") -> str:
    """Return ``value`` with three significant digits and a decimal prefix.

    ``format_count(4_089_184_256, "MACs")`` is ``"4.09 G MACs"``. Whole numbers below 1000 are
    exact.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    size, prefix = float(value), 0
    # 999.5 would print as 1000, so it already belongs to the next prefix.
    while abs(size) >= 999.5 and prefix < len(_PREFIXES) - 1:
        size, prefix = size / 1000, prefix + 1
    number = f"{size:.0f}" if prefix == 0 and size == int(size) else _three_digits(size)
    return " ".join(part for part in (_signed(number), _PREFIXES[prefix], unit) if part)


def format_bytes(value: float | None) -> str:
    """Return a file size with decimal prefixes (1 kB is 1000 bytes), ``"97.8 MB"``."""
    if value is None or not math.isfinite(value):
        return MISSING
    count = format_count(value)
    return f"{count}B" if count[-1].isalpha() else f"{count} B"


def format_seconds(value: float | None) -> str:
    """Return a duration given in seconds, ``"4.2 s"``, ``"3 min 20 s"`` or ``"5 h 07 min"``."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 99.95:
        return f"{_three_digits(value) if value < 9.995 else f'{value:.1f}'} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(round(value / 60), 60)
    return f"{hours} h {minutes:02d} min"


def format_milliseconds(value: float | None) -> str:
    """Return a latency given in milliseconds, ``"4.21 ms"``."""
    return MISSING if value is None or not math.isfinite(value) else f"{_three_digits(value)} ms"


def format_percent(value: float | None, digits: int = 2) -> str:
    """Return a figure that already is in percent (0 to 100), ``"76.15 %"``."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.{digits}f} %"


def format_metric(value: float | None, metric: Metric) -> str:
    """Return a metric with its unit, ``"76.15 %"``, ``"35.07 dB"`` or ``"0.9433"``."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{_signed(f'{value:.{metric.digits}f}')} {metric.unit}".rstrip()


def format_gain(before: float | None, after: float | None, metric: Metric) -> str:
    """Return how a metric changed, ``"+0.80 points"`` for a percentage, ``"+0.06 dB"``."""
    difference = _finite_difference(before, after)
    return MISSING if difference is None else format_difference(difference, metric)


def format_difference(value: float, metric: Metric, *, signed: bool = True) -> str:
    """Return a difference of two values of a metric; without a sign, the size of one."""
    number = _with_sign(value, metric.digits) if signed else f"{value:.{metric.digits}f}"
    return f"{number} {unit_of_difference(metric)}".rstrip()


def unit_of_difference(metric: Metric, *, one: bool = False) -> str:
    """Return what a difference is counted in: ``one`` point or several of a percentage."""
    if metric.unit == "%":
        return "point" if one else "points"
    return metric.unit


def format_change(before: float | None, after: float | None, digits: int = 1) -> str:
    """Return the relative difference from ``before`` to ``after``, ``"−8.0 %"``."""
    difference = _finite_difference(before, after)
    if difference is None or (not before and difference):
        return MISSING
    return f"{_with_sign(100 * difference / before if before else 0.0, digits)} %"


def format_score(value: float) -> str:
    """Return a score of the criterion, ``"0.25"``, or ``"1.2×10⁻⁵"`` where that is shorter."""
    if value == 0 or not math.isfinite(value) or 0.001 <= abs(value) < 10_000:
        return _signed(f"{value:.3g}")
    mantissa, exponent = f"{value:.2e}".split("e")
    mantissa = _signed(mantissa.rstrip("0").rstrip("."))
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return power if mantissa == "1" else f"{mantissa}×{power}"


def format_trials(losses: Sequence[float | None]) -> str:
    """Return the losses of a search's trials, of which the first is the baseline's own."""
    known = [loss for loss in losses if loss is not None]
    said = f"{len(losses)} short trainings"
    if losses and losses[0] is not None:
        said += f", loss {losses[0]:.4f} (baseline), {min(known):.4f} (lowest)"
    failed = len(losses) - len(known)
    return f"{said}; {failed} failed" if failed else said


def format_signed(value: float, digits: int = 0, *, plus: bool = False) -> str:
    """Return a number of so many decimal places, with a sign of its own where it is negative."""
    number = f"{value:.{digits}f}"
    if plus or float(number) == 0:
        return _with_sign(value, digits)
    return _signed(number)


def format_tick(value: float) -> str:
    """Return a round value as an axis shows it: ``"200 M"``, ``"2000"``, ``"0.5"``."""
    if abs(value) < 10_000:
        return _signed(f"{value:.6g}")
    number, _, prefix = format_count(value).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {prefix}"


def shorten(name: str, length: int = 36) -> str:
    """Cut the middle out of a name that is longer than ``length``; its ends tell names apart."""
    if len(name) <= length:
        return name
    head = (length - 1) // 2
    return f"{name[:head]}…{name[head + 1 - length :]}"


def _finite_difference(before: float | None, after: float | None) -> float | None:
    if before is None or after is None:
        return None
    difference = after - before
    return difference if math.isfinite(difference) else None


def _three_digits(value: float) -> str:
    size = abs(value)
    if 0 < size < 0.995:
        return f"{value:.{2 - math.floor(math.log10(size))}f}"
    return f"{value:.{2 if size < 9.995 else 1 if size < 99.95 else 0}f}"


def _with_sign(value: float, digits: int) -> str:
    number = f"{value:+.{digits}f}"
    if float(number) == 0:
        return number.lstrip("+-")
    return _signed(number)


def _signed(number: str) -> str:
    return _MINUS + number[1:] if number.startswith("-") else number
