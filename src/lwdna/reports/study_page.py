"""The page of a comparison: what each arm reached, how sure that is, which widths it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from lwdna.arms import BASELINE
from lwdna.engine.task import Metric, described
from lwdna.errors import FileError
from lwdna.files import write_json, write_text
from lwdna.locks import locked
from lwdna.reports import study
from lwdna.reports.axes import Axis, Tick, axis_around, axis_from_zero
from lwdna.reports.cells import Cell, Cells, read_cells
from lwdna.reports.class_figures import read_predictions, same_examples
from lwdna.reports.formats import (
    MISSING,
    format_change,
    format_count,
    format_difference,
    format_metric,
    format_milliseconds,
    format_seconds,
    format_tick,
    unit_of_difference,
)
from lwdna.reports.pages import render
from lwdna.reports.pictures import PictureRow, picture_rows
from lwdna.reports.provenance import about
from lwdna.reports.records import DataRecord
from lwdna.reports.run_files import read_data, read_examples, sheet_of
from lwdna.reports.samples import Samples, samples
from lwdna.reports.statistics import Half, Spread, detectable, spread
from lwdna.reports.study_answer import mean_of, study_answer
from lwdna.reports.verdict import little_to_gain
from lwdna.run_folder import (
    EXAMPLES,
    RECIPE_LOCK,
    REPORT,
    RESULTS,
    TIMINGS,
    TRACKING_RECORD,
    training_of_cell,
)

_SEEDS = (3, 5, 8, 12, 20)
"""Numbers of seeds for which the smallest detectable difference is shown."""


STUDY_COLUMNS = (
    "seeds", "mean ± sd", "difference", "95 % interval", "MACs", "parameters", "latency", "search",
    "training",
)  # fmt: skip
COMPARED = ("arm", *STUDY_COLUMNS[:4], "MACs", "params")
"""What the terminal shows of a comparison."""


@dataclass(frozen=True)
class Row:
    """One arm: texts for the table, places between 0 and 1 for the pictures."""

    name: str
    texts: tuple[str, ...]
    better: bool | None
    """Whether the arm is surely better than the baseline, or worse; ``None`` is no evidence."""
    dots: list[tuple[float, str]]
    mean: float
    differences: list[tuple[float, str]]
    difference: float | None
    interval: tuple[float, float] | None
    power: tuple[str, ...]


@dataclass(frozen=True)
class Widths:
    """One group: by arm, its width relative to the baseline's as a place and as a text."""

    name: str
    baseline: int
    bars: list[tuple[float, str]]


def write_comparison(folder: Path, out: Path | None = None, half: Half = "whole") -> Path:
    """Merge all finished cells into ``results.json``, ``timings.json`` and a page.

    Args:
        folder: the folder of a comparison.
        out: the page to write, ``folder/report.html`` by default.
        half: the part of the validation set whose figures the page gives.

    Returns:
        The path of the page.

    Raises:
        FileError: no cell is finished, a file is damaged, or the page cannot be written.
    """
    path = folder / REPORT if out is None else out
    # who merges more cells must not be overtaken by who read fewer
    with locked(folder / RECIPE_LOCK, wait=True, required=False):
        cells = read_cells(folder)
        parts = study.judge(cells)
        write_json(folder / RESULTS, study.results(cells, parts))
        write_json(folder / TIMINGS, study.timings(cells))
        write_text(path, _render(folder, cells, parts, half))
    return path


def _render(folder: Path, cells: Cells, parts: Mapping[Half, study.Part], half: Half) -> str:
    if half not in parts:
        raise FileError(
            f"{cells.metric.title} is known of the whole validation set only, so there are no "
            f"halves; report on the whole, not {half!r}"
        )
    part = parts[half]
    rows, value_ticks, difference_ticks, zero = _rows(cells, part)
    seconds = [
        cell.results.get("train_seconds") or 0.0
        for by_seed in cells.arms.values()
        for cell in by_seed.values()
    ]
    searching = [cell.search_seconds for arm in cells.arms for cell in cells.searches(arm)]
    model = cells.recipe.model
    data = read_data(folder)
    start = str(cells.any.results.get("pretrained") or "")
    answer = study_answer(cells, part)
    pictures = _pictures(folder, cells, data, (BASELINE, answer.arm) if answer else ())
    return render(
        "study.html.j2",
        styles=("report.css", "study.css"),
        script="report.js",
        network=model.name,
        answer=answer,
        about=about(data, cells.any.architecture.input_size, start),
        budget_note=little_to_gain(cells.recipe.shrink.get("budget") or {}),
        notes=study.notes(cells),
        half=half,
        metric=cells.metric,
        examples=cells.any.examples,
        intervals=_intervals(cells.metric),
        columns=STUDY_COLUMNS,
        rows=rows,
        value_ticks=value_ticks,
        difference_ticks=difference_ticks,
        zero=zero,
        seeds_planned=_SEEDS,
        unit=unit_of_difference(cells.metric),
        widths=_widths(cells),
        arms=[name for name in cells.arms if name != BASELINE],
        pictures=pictures,
        missing=_missing(cells),
        trainings=len(seconds),
        total=format_seconds(sum(seconds) + sum(searching)),
        changes={name: cells.recipe.compare.arms[name] for name in cells.arms},
        recipe=cells.recipe_text.strip(),
        versions=cells.any.results.get("versions", {}),
    )


@dataclass(frozen=True)
class Pictures:
    """What the trainings with one seed leave to look at."""

    seed: int
    rows: list[PictureRow]
    tracked: bool
    """Whether they are frames of sequences."""
    samples: Samples | None
    """Images, and the classes that networks took them for."""


def _pictures(
    folder: Path, cells: Cells, data: DataRecord | None, compared: Sequence[str]
) -> Pictures | None:
    """Return the pictures of the first seed with which all arms are finished, if there are any.

    Classes are shown of the arms ``compared`` alone.
    """
    seed = next(iter(cells.seeds(*cells.arms)), None)
    if seed is None:
        return None
    places = {arm: training_of_cell(folder, arm, seed, BASELINE) for arm in cells.arms}
    tracked = all((place / EXAMPLES / TRACKING_RECORD).is_file() for place in places.values())
    shown = {arm: read_examples(place) for arm, place in places.items()}
    rows = picture_rows(shown, truth_first=True)
    chosen = _samples({arm: places[arm] for arm in compared}, data)
    return Pictures(seed, rows, tracked, chosen) if rows or chosen else None


def _samples(places: Mapping[str, Path], data: DataRecord | None) -> Samples | None:
    """Return images about which trainings in these places differ, where they tell classes."""
    found = {arm: read_predictions(place) for arm, place in places.items()}
    told = {arm: one for arm, one in found.items() if one is not None}
    if not told or len(told) < len(places) or not same_examples(told.values()):
        return None
    sheet = sheet_of(next(iter(places.values())))
    return samples(told, sheet, data.classes if data is not None else None)


def _rows(cells: Cells, part: study.Part) -> tuple[list[Row], list[Tick], list[Tick], float]:
    """Return the rows, the ticks of both axes, and where no difference is on the second."""
    axis = axis_around([value for values in part.values.values() for value in values])
    pairs = {arm: pair for (arm, other), pair in part.differences.items() if other == BASELINE}
    ends = [0.0]
    for pair in pairs.values():
        ends += [*pair.found.values, *(pair.found.interval or ())]
    shift = axis_around(ends)
    rows = [
        _row(cells, arm, values, pairs.get(arm), axis, shift) for arm, values in part.values.items()
    ]
    return rows, axis.ticks(format_tick, 4), shift.ticks(format_tick, 4), shift.position(0.0)


def _row(
    cells: Cells,
    arm: str,
    values: list[float],
    pair: study.Pair | None,
    axis: Axis,
    shift: Axis,
) -> Row:
    by_seed, metric = cells.arms[arm], cells.metric
    found = pair.found if pair else None
    interval = found.interval if found else None
    sd = found.sd if found else None
    return Row(
        name=arm,
        texts=(
            str(len(by_seed)),
            _spread_text(spread(np.array(values)), metric),
            format_difference(found.mean, metric) if found else MISSING,
            _interval_text(interval, metric),
            *_cost_texts(cells, arm),
            format_milliseconds(mean_of([*by_seed.values()], "latency_ms")),
            _search_text(cells.searches(arm)),
            format_seconds(mean_of([*by_seed.values()], "train_seconds")),
        ),
        better=metric.better(found.sign, 0) if found and found.sign else None,
        dots=[
            (axis.position(value), f"seed {seed}: {format_metric(value, metric)}")
            for seed, value in zip(by_seed, values, strict=True)
        ],
        mean=axis.position(fmean(values)),
        differences=[
            (shift.position(value), f"seed {seed}: {format_difference(value, metric)}")
            for seed, value in (zip(pair.seeds, pair.found.values, strict=True) if pair else ())
        ],
        difference=shift.position(found.mean) if found else None,
        interval=(shift.position(interval[0]), shift.position(interval[1])) if interval else None,
        power=tuple(
            MISSING if sd is None else f"{detectable(sd, count):.{metric.digits}f}"
            for count in _SEEDS
        ),
    )


def _spread_text(found: Spread, metric: Metric) -> str:
    """Return mean and standard deviation, ``"76.15 ± 0.31 %"``."""
    number, _, rest = format_metric(found.mean, metric).partition(" ")
    sd = "" if found.sd is None else f"± {found.sd:.{metric.digits}f}"
    return " ".join(part for part in (number, sd, rest) if part)


def _intervals(metric: Metric) -> str:
    """Return which intervals there are, of which the one shown is the hull."""
    if metric.mean_of_examples:
        return (
            "Student’s t interval over seeds, a bootstrap over seeds, and a bootstrap over seeds "
            "and examples"
        )
    return (
        "Student’s t interval over seeds and a bootstrap over seeds (the metric is no mean over "
        "the examples, so these are taken as given)"
    )


def _interval_text(interval: Sequence[float] | None, metric: Metric) -> str:
    if interval is None:
        return MISSING
    return " to ".join(format_difference(end, metric).partition(" ")[0] for end in interval)


def _search_text(searches: Sequence[Cell]) -> str:
    """Return what one search of an arm took: time, trainings, and whether all seeds share it."""
    if not searches:
        return MISSING
    time = format_seconds(fmean(cell.search_seconds for cell in searches))
    told = (
        f"{searches[0].search_trainings:g} trainings" if searches[0].search_trainings else "",
        "for all seeds" if searches[0].search_shared else "",
    )
    more = ", ".join(filter(None, told))
    return f"{time} ({more})" if more else time


def _cost_texts(cells: Cells, arm: str) -> tuple[str, str]:
    costs = cells.cost(arm)
    texts = {what: format_count(cost) for what, cost in costs.items()}
    if arm != BASELINE and BASELINE in cells.arms:
        before = cells.cost(BASELINE)
        texts = {w: f"{t} ({format_change(before[w], costs[w])})" for w, t in texts.items()}
    return texts["macs"], texts["params"]


def comparison_lines(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of :data:`COMPARED` of a ``results.json`` as texts.

    MACs and parameters are changes to the baseline's.
    """
    part, metric = results["halves"]["whole"], described(results)[0]
    pairs = {pair["arm"]: pair for pair in part["differences"] if pair["to"] == BASELINE}
    costs = {
        arm: {what: fmean(one[what]) for what in ("macs", "params")}
        for arm, one in results["arms"].items()
    }
    base = costs.get(BASELINE, {})
    return [
        (
            arm,
            str(len(figures["values"])),
            _spread_text(Spread(figures["mean"], figures["sd"]), metric),
            format_difference(pairs[arm]["mean"], metric) if arm in pairs else MISSING,
            _interval_text(pairs[arm]["interval"] if arm in pairs else None, metric),
            *(
                format_change(base.get(what), costs[arm][what], 0) if arm != BASELINE else MISSING
                for what in ("macs", "params")
            ),
        )
        for arm, figures in part["arms"].items()
    ]


def _widths(cells: Cells) -> list[Widths]:
    """Return mean widths by group, relative to the baseline's; the largest share is a full bar."""
    if BASELINE not in cells.arms:
        return []
    baseline = next(iter(cells.arms[BASELINE].values())).architecture.widths
    means = {
        arm: {
            group: fmean(cell.architecture.widths[group] for cell in by_seed.values())
            for group in baseline
        }
        for arm, by_seed in cells.arms.items()
        if arm != BASELINE
    }
    axis = axis_from_zero(
        max((m[g] / max(baseline[g], 1) for m in means.values() for g in m), default=1.0)
    )
    return [
        Widths(
            name=group,
            baseline=width,
            bars=[
                (axis.position(mean[group] / max(width, 1)), f"{mean[group]:.4g}")
                for mean in means.values()
            ],
        )
        for group, width in baseline.items()
    ]


def _missing(cells: Cells) -> int:
    planned = cells.recipe.compare.seeds * len(cells.recipe.compare.arms)
    finished = (*cells.arms.values(), *cells.left_out.values())
    return planned - sum(map(len, finished))
