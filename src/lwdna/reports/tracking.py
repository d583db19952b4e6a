"""How well trackers followed their targets: curves over all of them, figures of each."""

from __future__ import annotations

from dataclasses import dataclass

from lwdna.reports.axes import Axis
from lwdna.reports.curves import Line, Panel, Point
from lwdna.reports.formats import MISSING, format_tick
from lwdna.reports.records import TrackingCurves, TrackingRecord
from lwdna.reports.run_files import TrainingRun

_CURVES = (
    ("success", "Success, % of frames", "overlap above", "overlap above {:.2f}"),
    (
        "precision",
        "Precision, % of frames",
        "distance of the centres in pixels, at most",
        "at most {:g} pixels",
    ),
    (
        "normalised_precision",
        "Normalised precision, % of frames",
        "distance in parts of the target’s size, at most",
        "at most {:.2f} of the size",
    ),
)
"""By name: title, what the horizontal axis is, and one of its values."""
_AT = {"precision": (20.0, "at 20 pixels"), "normalised_precision": (0.2, "at 0.2")}
"""Of which threshold a curve's figure is."""
_COLUMNS = ("success", "precision, 20 px", "normalised, 0.2")
_TOOLKITS = {
    "otb": "OTB",
    "got10k": "GOT-10k",
    "lasot": "LaSOT",
    "lasot_got10k": "LaSOT in the package got10k",
    "pytracking_valid": "pytracking, frames without the target left out",
    "trackingnet": "TrackingNet",
}
"""How toolkits are written; others by their own names."""


@dataclass(frozen=True)
class Row:
    """One target: its figures, column by column, each as a number and as a text."""

    name: str
    cells: list[tuple[float, str]]


@dataclass(frozen=True)
class TrackingView:
    """What the report shows of trackers."""

    toolkit: str
    panels: list[Panel]
    columns: list[tuple[str, str]]
    """Of the table: figure and network."""
    rows: list[Row]
    mean: Row


def tracking_view(baseline: TrainingRun | None, found: TrainingRun | None) -> TrackingView | None:
    """Lay out curves and figures, if one of the trainings left any.

    Trackers that were judged by different toolkits, or at different thresholds, are not drawn into
    one chart: then only the network found is shown.
    """
    runs = (("base", "baseline", baseline), ("found", "LW-DNA", found))
    records = {
        (key, name): run.tracking
        for key, name, run in runs
        if run is not None and run.tracking is not None
    }
    if not records:
        return None
    last = [*records.values()][-1]
    records = {
        who: record
        for who, record in records.items()
        if (record.toolkit, record.thresholds) == (last.toolkit, last.thresholds)
    }
    names = list(dict.fromkeys(name for record in records.values() for name in record.sequences))
    by_key = {key: record for (key, _), record in records.items()}
    return TrackingView(
        toolkit=_TOOLKITS.get(last.toolkit, last.toolkit),
        panels=[_panel(by_key, *curve) for curve in _CURVES],
        columns=[(_title(last, column), who) for column in _COLUMNS for _, who in records],
        rows=[
            Row(name, _cells([(one, one.sequences.get(name)) for one in records.values()]))
            for name in names
        ],
        mean=Row("all", _cells([(one, one.mean) for one in records.values()])),
    )


def _title(record: TrackingRecord, column: str) -> str:
    if column != "success":
        return column
    return "mean overlap (AO)" if record.toolkit == "got10k" else "success AUC"


def _panel(
    records: dict[str, TrackingRecord], name: str, title: str, x_title: str, text: str
) -> Panel:
    thresholds = next(iter(records.values())).thresholds[name]
    x_axis, y_axis = Axis(thresholds[0], thresholds[-1]), Axis(0.0, 100.0)
    return Panel(
        title=title,
        lines=[_line(key, record, name, text, x_axis, y_axis) for key, record in records.items()],
        x_ticks=x_axis.ticks(format_tick),
        y_ticks=y_axis.ticks(format_tick),
        x_title=x_title,
        figure=_AT[name][1] if name in _AT else "area, %",
    )


def _line(
    key: str, record: TrackingRecord, name: str, text: str, x_axis: Axis, y_axis: Axis
) -> Line:
    pieces: list[list[Point]] = [[]]
    curve = getattr(record.mean, name)
    for threshold, share in zip(record.thresholds[name], curve, strict=True):
        if share is None:
            pieces.append([])
            continue
        title = f"{text.format(threshold)}: {100 * share:.1f} %"
        pieces[-1].append(Point(x_axis.position(threshold), y_axis.position(100 * share), title))
    return Line(
        key, [piece for piece in pieces if piece], _text(_figure(record, name, record.mean))
    )


def _cells(
    networks: list[tuple[TrackingRecord, TrackingCurves | None]],
) -> list[tuple[float, str]]:
    """Return the figures of one row; those that are missing come last when sorted."""
    figures = [
        None if curves is None else _figure(record, name, curves)
        for name, *_ in _CURVES
        for record, curves in networks
    ]
    return [(-1.0 if value is None else value, _text(value)) for value in figures]


def _figure(record: TrackingRecord, name: str, curves: TrackingCurves) -> float | None:
    """Return the one figure in percent by which a curve is known."""
    if name not in _AT:
        return curves.auc
    wanted = _AT[name][0]
    shares = zip(record.thresholds[name], getattr(curves, name), strict=True)
    share = next((share for at, share in shares if abs(at - wanted) < 1e-9), None)
    return None if share is None else 100 * share


def _text(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"
