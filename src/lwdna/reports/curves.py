"""Geometry of the training curves: one panel per figure, one line per network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lwdna.reports.axes import Axis, Tick, axis_around
from lwdna.reports.formats import format_tick
from lwdna.reports.run_files import EpochRecord, TrainingRun
from lwdna.reports.scores import SCORES


@dataclass(frozen=True)
class Point:
    """One epoch's figure: place between 0 and 1 from left and from below, and its tooltip."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Line:
    """One network's figure over the epochs; ``pieces`` part where a figure is missing."""

    key: str
    pieces: list[list[Point]]
    last: str


@dataclass(frozen=True)
class Panel:
    """One chart."""

    title: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


_FIGURES = (
    ("train_loss", "training loss", "{:.3g}"),
    ("val_loss", "validation loss", "{:.3g}"),
    *((score.key, score.axis, "{:.2f}") for score in SCORES),
)


def curves(baseline: TrainingRun | None, found: TrainingRun | None) -> list[Panel]:
    """Lay out a panel per figure that at least one of the two trainings recorded."""
    runs = [("baseline", baseline), ("found", found)]
    histories = [(key, run.epochs) for key, run in runs if run is not None and run.epochs]
    panels = (_panel(*figure, histories) for figure in _FIGURES)
    return [panel for panel in panels if panel is not None]


def _panel(
    figure: str,
    title: str,
    text: str,
    histories: Sequence[tuple[str, Sequence[EpochRecord]]],
) -> Panel | None:
    series = {
        key: [(record.epoch, getattr(record, figure)) for record in epochs]
        for key, epochs in histories
    }
    values = [
        value
        for points in series.values()
        for _, value in points
        if value is not None and math.isfinite(value)
    ]
    if not values:
        return None
    epochs = [epoch for points in series.values() for epoch, _ in points]
    x_axis = Axis(min(epochs), max(max(epochs), min(epochs) + 1))
    y_axis = axis_around(values)
    return Panel(
        title=title,
        lines=[_line(key, points, x_axis, y_axis, text) for key, points in series.items()],
        x_ticks=x_axis.whole_ticks(),
        y_ticks=y_axis.ticks(format_tick),
    )


def _line(
    key: str,
    points: Sequence[tuple[int, float | None]],
    x_axis: Axis,
    y_axis: Axis,
    text: str,
) -> Line:
    pieces: list[list[Point]] = [[]]
    last = ""
    for epoch, value in points:
        if value is None or not math.isfinite(value):
            pieces.append([])
            continue
        last = text.format(value)
        title = f"epoch {epoch}: {last}"
        pieces[-1].append(Point(x_axis.position(epoch), y_axis.position(value), title))
    return Line(key, [piece for piece in pieces if piece], last)
