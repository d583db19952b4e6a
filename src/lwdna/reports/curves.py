"""Geometry of curves: one panel per figure, one line per network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lwdna.engine.task import Metric, described
from lwdna.reports.axes import Axis, Tick, axis_around
from lwdna.reports.formats import format_tick
from lwdna.reports.records import EpochRecord
from lwdna.reports.run_files import TrainingRun


@dataclass(frozen=True)
class Point:
    """One figure, as of an epoch: place between 0 and 1 from left and from below, its tooltip."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Line:
    """One network's figures; ``pieces`` part where one is missing."""

    key: str
    pieces: list[list[Point]]
    figure: str
    """The one that is written below the chart; may be empty."""


@dataclass(frozen=True)
class Panel:
    """One chart."""

    title: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    x_title: str = "epoch"
    figure: str = "last"
    """What the figures below the chart are."""


_Histories = Sequence[tuple[str, Sequence[EpochRecord]]]

_LOSSES = (
    ("train_loss", "training loss", "{:.3g}"),
    ("val_loss", "validation loss", "{:.3g}"),
)


def curves(baseline: TrainingRun | None, found: TrainingRun | None) -> list[Panel]:
    """Lay out a panel per loss and for the primary metric, if one of the trainings recorded it.

    While no training is finished, nothing says which metric that is: then all get a panel.
    """
    runs = [("baseline", baseline), ("found", found)]
    histories = [(key, run.epochs) for key, run in runs if run is not None and run.epochs]
    metrics = described(*(run.results.figures for _, run in runs if run and run.results))[:1]
    figures = [(m.name, _axis_title(m), f"{{:.{m.digits}f}}") for m in metrics]
    if not figures:
        names = [name for _, epochs in histories for record in epochs for name in record.metrics]
        figures = [(name, name, "{:.4g}") for name in dict.fromkeys(names)]
    panels = (_panel(*figure, histories) for figure in (*_LOSSES, *figures))
    return [panel for panel in panels if panel is not None]


def _axis_title(metric: Metric) -> str:
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title


def _panel(figure: str, title: str, text: str, histories: _Histories) -> Panel | None:
    series = {
        key: [(record.epoch, record.figure(figure)) for record in epochs]
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
