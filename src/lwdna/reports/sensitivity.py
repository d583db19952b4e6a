"""What a sensitivity analysis shows: a page, and a table for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import Field, FiniteFloat

from lwdna.engine.task import Metric, described
from lwdna.errors import FileError
from lwdna.files import write_text
from lwdna.reports.axes import Axis, Tick, axis_around
from lwdna.reports.formats import (
    MISSING,
    format_difference,
    format_gain,
    format_metric,
    format_percent,
    format_tick,
)
from lwdna.reports.pages import render
from lwdna.reports.provenance import flat
from lwdna.reports.records import Record
from lwdna.reports.run_files import read_record, read_text
from lwdna.run_folder import RECIPE, REPORT, SENSITIVITY_RECORD

_NAMED = 3
"""How many lines of the picture have names: those that lose most."""
_APART = 0.07
"""Least distance of two names, as a share of the picture's height."""


class SliceRecord(Record):
    """The network with one group sliced."""

    share: FiniteFloat
    width: int
    macs: int
    params: int
    metrics: dict[str, float | None]
    error: FiniteFloat | None = None
    """Standard error of the primary metric's difference to the whole network."""


class SlicedGroup(Record):
    """A group, and the network without some of its units."""

    name: str
    width: int
    exact: bool = True
    slices: tuple[SliceRecord, ...]


class SensitivityRecord(Record):
    """``sensitivity.json``."""

    metric: str
    metrics: tuple[Metric, ...] = ()
    network: str | None = None
    examples: int
    seed: int | None = None
    macs: int
    params: int
    dense: dict[str, float | None]
    recalibrated: dict[str, float | None]
    count: int
    """Groups of the network, of which some may not have been measured yet."""
    groups: tuple[SlicedGroup, ...]
    settings: dict[str, Any] = Field(default_factory=dict)
    weights: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, Any] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """A group with a share of its units, against the whole recalibrated network."""

    share: float
    width: int
    value: float
    """The primary metric; NaN if it is not a number."""
    loss: float
    """By how much it is worse than the whole network; infinite if it is not a number."""
    saved: float
    """MACs, in percent of the whole network's."""
    error: float | None

    @property
    def price(self) -> float:
        """What is lost for one percent of the MACs; NaN where none are saved."""
        return self.loss / self.saved if self.saved > 0 else math.nan


@dataclass(frozen=True)
class Row:
    """A group with its cuts, the largest share first."""

    name: str
    width: int
    exact: bool
    cuts: tuple[Cut, ...]
    half: Cut
    """The one by which groups are compared."""

    @property
    def rank(self) -> tuple[bool, float, float]:
        """The smaller, the more the group can lose for what that saves. What is gained is chance,
        so that no loss is as good as any."""
        price = self.half.price
        return math.isnan(price), max(price, 0.0), -self.half.saved


@dataclass(frozen=True)
class Analysis:
    """All groups in the order of execution."""

    record: SensitivityRecord
    metric: Metric
    whole: float
    rows: tuple[Row, ...]

    @property
    def shares(self) -> list[str]:
        """The shares in words, ``"1/2"``."""
        return [share_text(cut.share) for cut in self.rows[0].cuts] if self.rows else []

    @property
    def ranked(self) -> list[Row]:
        """Rows, those first that can lose most."""
        return sorted(self.rows, key=lambda row: row.rank)


def analyse(record: SensitivityRecord) -> Analysis:
    """Return losses and savings of what was measured."""
    metric = described({"metric": record.metric, "metrics": record.metrics})[0]
    whole = _number(record.recalibrated.get(metric.name))
    sign = 1 if metric.higher_is_better else -1
    rows = []
    for group in record.groups:
        cuts = []
        for one in group.slices:
            value = _number(one.metrics.get(metric.name))
            loss = sign * (whole - value)
            saved = 100 * (1 - one.macs / record.macs) if record.macs else 0.0
            known = loss if math.isfinite(loss) else math.inf
            cuts.append(Cut(one.share, one.width, value, known, saved, one.error))
        if cuts:
            half = min(cuts, key=lambda cut: abs(cut.share - 0.5))
            rows.append(Row(group.name, group.width, group.exact, tuple(cuts), half))
    return Analysis(record, metric, whole, tuple(rows))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def share_text(share: float) -> str:
    """Return a share as a fraction, ``"3/4"``, or in percent where that is no simple one."""
    simple = Fraction(share).limit_denominator(64)
    return str(simple) if abs(float(simple) - share) < 1e-9 else f"{100 * share:.3g} %"


def sensitivity_columns(found: Analysis) -> list[str]:
    """Return the headings of :func:`sensitivity_lines`."""
    if not found.rows:
        return []
    half = share_text(found.rows[0].half.share)
    return ["group", "width", *found.shares, f"MACs saved\nat {half}", "per 1 %\nof MACs"]


def sensitivity_lines(found: Analysis) -> list[list[str]]:
    """Return a line per group, those first that can lose most: how the metric changes."""
    return [
        [
            row.name,
            str(row.width),
            *(_change(found, cut) for cut in row.cuts),
            format_percent(row.half.saved, 1),
            _price(found, row.half),
        ]
        for row in found.ranked
    ]


def _change(found: Analysis, cut: Cut) -> str:
    """Return by how much the metric differs from the whole network's, without unit."""
    text = format_gain(found.whole, cut.value, found.metric)
    return text if text == MISSING else text.partition(" ")[0]


def _price(found: Analysis, cut: Cut) -> str:
    sign = -1 if found.metric.higher_is_better else 1
    price = sign * cut.price
    return format_difference(price, found.metric).partition(" ")[0] if _known(price) else MISSING


def _known(value: float) -> bool:
    return math.isfinite(value)


def sensitivity_words(found: Analysis) -> str:
    """Return in a sentence which group loses least and which most for what it saves."""
    ranked = [row for row in found.ranked if not row.rank[0]]
    if not ranked:
        return "No group saves any MACs."
    best, worst = ranked[0], ranked[-1]
    half = share_text(best.half.share)

    def told(row: Row) -> str:
        change = format_gain(found.whole, row.half.value, found.metric)
        change = "no finite number" if change == MISSING else change
        return f"{change} for {row.half.saved:.1f} % of the MACs"

    said = (
        f"Cut to {half} of its units, {best.name} loses least {found.metric.title} for what it "
        f"saves ({told(best)})"
    )
    return f"{said}, and {worst.name} most ({told(worst)})." if len(ranked) > 1 else f"{said}."


def sensitivity_evidence(found: Analysis) -> str:
    """Return how the figures were measured and how far they can be trusted."""
    record, metric = found.record, found.metric
    kept = record.settings.get("criterion")
    said = (
        "Each group was cut by itself, to its best units"
        f"{f' by {kept}' if kept else ''}; statistics of normalisation were computed anew, and "
        f"nothing was trained. Differences are to the whole network treated alike "
        f"({format_metric(found.whole, metric)}; as it is "
        f"{format_metric(record.dense.get(metric.name), metric)}), "
        f"on {record.examples} validation examples. "
    )
    errors = [cut.error for row in found.rows for cut in row.cuts if cut.error is not None]
    if errors:
        most = format_difference(max(errors), metric, signed=False)
        said += f"Their standard errors are at most {most}. "
    return f"{said}What several groups lose together does not follow from this."


@dataclass(frozen=True)
class Line:
    """A group in the picture; places between 0 and 1 from left and from below."""

    name: str
    title: str
    points: list[tuple[float, float]]
    label: float | None
    """Where its name stands, for those that lose most."""


@dataclass(frozen=True)
class Picture:
    """The metric over the share of units that stay, a line per group."""

    lines: list[Line]
    """Those with names last, to be drawn above the others."""
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def picture(found: Analysis) -> Picture | None:
    """Lay out the lines; None where nothing is known."""
    values = [cut.value for row in found.rows for cut in row.cuts if _known(cut.value)]
    if not values or not _known(found.whole):
        return None
    y_axis = axis_around([*values, found.whole])
    labels = _labels(found, y_axis)
    lines = [
        Line(row.name, _title(found, row), _points(found, row, y_axis), labels.get(row.name))
        for row in found.rows
    ]
    shares = [1.0, *(cut.share for cut in found.rows[0].cuts)]
    ticks = [Tick(_gone(share, found.rows[0]), share_text(share)) for share in shares]
    named = sorted(lines, key=lambda line: line.label is not None)
    return Picture(named, ticks, y_axis.ticks(format_tick))


def _points(found: Analysis, row: Row, y_axis: Axis) -> list[tuple[float, float]]:
    whole = (0.0, y_axis.position(found.whole))
    known = [cut for cut in row.cuts if _known(cut.value)]
    return [whole, *((_gone(cut.share, row), y_axis.position(cut.value)) for cut in known)]


def _gone(share: float, row: Row) -> float:
    """Return where a share stands between the whole group and its smallest share."""
    return (1 - share) / (1 - row.cuts[-1].share)


def _title(found: Analysis, row: Row) -> str:
    told = (
        f"{share_text(cut.share)} ({cut.width}): {format_metric(cut.value, found.metric)}"
        for cut in row.cuts
    )
    return f"{row.name}, {row.width} units; {', '.join(told)}"


def _labels(found: Analysis, y_axis: Axis) -> dict[str, float]:
    """Return where the names of the groups that lose most stand, none above another."""
    known = [row for row in found.rows if _known(row.cuts[-1].value) and row.cuts[-1].loss > 0]
    worst = sorted(known, key=lambda row: -row.cuts[-1].loss)[:_NAMED]
    places: dict[str, float] = {}
    least = -_APART
    for row in worst:  # from below, where the metric is worst, or from above
        place = y_axis.position(row.cuts[-1].value)
        place = place if found.metric.higher_is_better else 1 - place
        least = max(place, least + _APART)
        places[row.name] = least if found.metric.higher_is_better else 1 - least
    return places


@dataclass(frozen=True)
class TableRow:
    """A line of the page's table."""

    row: Row
    title: str
    points: list[tuple[float, float]]
    changes: list[tuple[str, float, str]]
    """Text, value to sort by and class, by share."""
    saved: str
    price: str
    order: float


def _table(found: Analysis) -> list[TableRow]:
    values = [cut.value for row in found.rows for cut in row.cuts if _known(cut.value)]
    y_axis = axis_around([*values, found.whole] if _known(found.whole) else values or [0.0])
    ranks = {row.name: place for place, row in enumerate(found.ranked)}
    return [
        TableRow(
            row,
            _title(found, row),
            _points(found, row, y_axis) if _known(found.whole) else [],
            [(_change(found, cut), _sortable(-cut.loss), _sure(cut)) for cut in row.cuts],
            format_percent(row.half.saved, 1),
            _price(found, row.half),
            float(len(ranks) - ranks[row.name]),
        )
        for row in found.rows
    ]


def _sortable(value: float) -> float:
    return value if _known(value) else -1e30


def _sure(cut: Cut) -> str:
    """Return "worse" where a loss is more than twice its standard error."""
    return "worse" if cut.loss > 2 * (cut.error or 0.0) else ""


def read_sensitivity(folder: Path) -> Analysis:
    """Return the analysis in a folder.

    Raises:
        FileError: there is none, or it is damaged.
    """
    return analyse(read_record(SensitivityRecord, folder / SENSITIVITY_RECORD))


def write_sensitivity(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a sensitivity analysis as one HTML file without outside parts.

    Args:
        folder: holds ``sensitivity.json``.
        out: the file to write, ``report.html`` in the folder by default.

    Raises:
        FileError: nothing has been measured yet, a file is damaged, or the page cannot be written.
    """
    found = read_sensitivity(folder)
    if not found.rows:
        raise FileError(
            f"no group of the analysis in {folder} has been measured yet; go on with it"
        )
    record = found.record
    half = next(i for i, cut in enumerate(found.rows[0].cuts) if cut is found.rows[0].half)
    html = render(
        "sensitivity.html.j2",
        styles=("report.css", "sensitivity.css"),
        script="report.js",
        network=record.network,
        metric=found.metric,
        headline=sensitivity_words(found),
        evidence=sensitivity_evidence(found),
        missing=record.count - len(found.rows),
        picture=picture(found),
        shares=found.shares,
        half=half,
        rows=_table(found),
        facts=_facts(record),
        recipe=read_text(folder / RECIPE),
    )
    path = folder / REPORT if out is None else Path(out)
    write_text(path, html)
    return path


def _facts(record: SensitivityRecord) -> Sequence[tuple[str, str]]:
    weights = record.weights.get("file")
    return [
        *([("weights", str(weights))] if weights else []),
        *flat(record.settings, ""),
        *([("seed", str(record.seed))] if record.seed is not None else []),
        *flat(record.versions, "version of"),
        *flat(record.machine, ""),
    ]
