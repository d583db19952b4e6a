"""Geometry of curves: one panel per figure, one line per network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    dashed: bool = False


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
    dashed: str = ""
    """What the figures of dashed lines are."""


_Histories = Sequence[tuple[str, Sequence[EpochRecord]]]

_LOSS = "{:.3g}"


def curves(baseline: TrainingRun | None, found: TrainingRun | None) -> list[Panel]:
    """Lay out a panel for the primary metric and one for the losses, as far as they were recorded.

    While no training is finished, nothing says which metric that is: then all get a panel.
    """
    runs = [("baseline", baseline), ("found", found)]
    histories = [(key, run.epochs) for key, run in runs if run is not None and run.epochs]
    metrics = described(*(run.results.figures for _, run in runs if run and run.results))[:1]
    figures = [(m.name, _axis_title(m), f"{{:.{m.digits}f}}") for m in metrics]
    if not figures:
        names = [name for _, epochs in histories for record in epochs for name in record.metrics]
        figures = [(name, name, "{:.4g}") for name in dict.fromkeys(names)]
    panels = [_panel(title, [(name, text, False)], histories) for name, title, text in figures]
    return [panel for panel in (*panels, _losses(histories)) if panel is not None]


def _losses(histories: _Histories) -> Panel | None:
    """Return the panel of the losses: where both are known, that in training is dashed."""
    known = [
        name
        for name in ("val_loss", "train_loss")
        if any(_finite(record.figure(name)) for _, epochs in histories for record in epochs)
    ]
    if len(known) < 2:
        title = {"val_loss": "validation loss", "train_loss": "training loss"}
        return _panel(title[known[0]], [(known[0], _LOSS, False)], histories) if known else None
    figures = [("val_loss", _LOSS, False), ("train_loss", _LOSS, True)]
    panel = _panel("validation loss, training loss dashed", figures, histories)
    return panel and replace(panel, figure="last, validation", dashed="training")


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _axis_title(metric: Metric) -> str:
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title


def _panel(
    title: str, figures: Sequence[tuple[str, str, bool]], histories: _Histories
) -> Panel | None:
    """Return a panel of figures: name, how it is written, whether its lines are dashed."""
    series = [
        (key, text, dashed, [(record.epoch, record.figure(name)) for record in epochs])
        for name, text, dashed in figures
        for key, epochs in histories
    ]
    values = [
        value
        for *_, points in series
        for _, value in points
        if value is not None and math.isfinite(value)
    ]
    if not values:
        return None
    epochs = [epoch for *_, points in series for epoch, _ in points]
    x_axis = Axis(min(epochs), max(max(epochs), min(epochs) + 1))
    y_axis = axis_around(values)
    return Panel(
        title=title,
        lines=[
            replace(_line(key, points, x_axis, y_axis, text), dashed=dashed)
            for key, text, dashed, points in series
        ],
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
