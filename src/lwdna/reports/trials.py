"""Geometry of the trials' chart: the loss of every short training in the order they were made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lwdna.reports.axes import Axis, Tick, axis_around
from lwdna.reports.formats import format_tick
from lwdna.reports.records import TrialRecord

_FIRST, _LATER = ("base", "the baseline’s proportions"), ("found", "widths tried")


@dataclass(frozen=True)
class TrialPoint:
    """One trial: place between 0 and 1 from left and from below, its kind and its tooltip."""

    x: float
    y: float
    kind: str
    title: str


@dataclass(frozen=True)
class TrialChart:
    """All trials that did not fail, and the numbers of those that did."""

    points: list[TrialPoint]
    count: int
    failed: list[int]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def trial_chart(trials: Sequence[TrialRecord]) -> TrialChart | None:
    """Lay out the losses of a search's trials; ``None`` where there are none."""
    losses = {number: trial.loss for number, trial in enumerate(trials, 1)}
    known = {n: loss for n, loss in losses.items() if loss is not None and math.isfinite(loss)}
    if not known:
        return None
    x_axis, y_axis = Axis(0.5, len(trials) + 0.5), axis_around(list(known.values()))
    points = []
    for number, loss in known.items():
        kind, what = _FIRST if number == 1 else _LATER
        title = f"trial {number}, {what}: loss {loss:.4f}"
        points.append(TrialPoint(x_axis.position(number), y_axis.position(loss), kind, title))
    return TrialChart(
        points=points,
        count=len(trials),
        failed=[number for number in losses if number not in known],
        x_ticks=x_axis.whole_ticks(),
        y_ticks=y_axis.ticks(format_tick),
    )
