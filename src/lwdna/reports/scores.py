"""The primary metrics of the tasks, as reports speak of them; higher is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lwdna.reports.formats import (
    format_decibels,
    format_gain,
    format_percent,
    format_points,
)


@dataclass(frozen=True)
class Score:
    """How a primary metric is written."""

    key: str
    """Its name in ``results.json`` and ``metrics.jsonl``."""
    title: str
    axis: str
    text: Callable[[float | None], str]
    difference: Callable[[float | None, float | None], str]
    reached: str
    """How a network's value is said, a format string."""
    digits: int
    """Decimal places of a difference that is worth saying."""
    unit: str
    units: str
    """What a difference is counted in: of one, of several."""
    alike: str

    def said(self, value: float) -> str:
        """Return a value in words, ``"76.2 % top-1 accuracy"``."""
        return self.reached.format(value)

    def compared(self, before: float, after: float) -> str:
        """Return how a network compares with its baseline, in words."""
        gap = round(after - before, self.digits)
        if gap == 0:
            return (
                f"as {self.alike} as the baseline (within {0.5 * 10**-self.digits:g} {self.units})"
            )
        unit = self.unit if abs(gap) == 1 else self.units
        return f"{abs(gap):g} {unit} {'better' if gap > 0 else 'worse'} than the baseline"


SCORES = (
    Score(
        key="top1",
        title="top-1 accuracy",
        axis="top-1 accuracy (%)",
        text=format_percent,
        difference=format_points,
        reached="{:.1f} % top-1 accuracy",
        digits=1,
        unit="point",
        units="points",
        alike="accurate",
    ),
    Score(
        key="psnr",
        title="PSNR",
        axis="PSNR (dB)",
        text=format_decibels,
        difference=format_gain,
        reached="a PSNR of {:.2f} dB",
        digits=2,
        unit="dB",
        units="dB",
        alike="good",
    ),
)
