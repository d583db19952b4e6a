"""What one run answers: a badge, a sentence, an interval, and the command that would prove it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lwdna.engine.task import Metric, described
from lwdna.reports.formats import (
    format_change,
    format_count,
    format_gain,
    format_metric,
    format_milliseconds,
)
from lwdna.reports.paired import (
    IntervalBar,
    Kind,
    Paired,
    badge,
    interval_bar,
    kind_of,
    pair,
)
from lwdna.reports.provenance import next_command
from lwdna.reports.records import RecordedCost
from lwdna.reports.run_files import RunFiles, TrainingRun, read_run
from lwdna.reports.tables import ComparisonRow, Figures, comparison
from lwdna.reports.verdict import below_input, evidence, not_finite, verdict


@dataclass(frozen=True)
class Tile:
    """A figure of both networks in large type."""

    title: str
    value: str
    """That of the network found, or of the baseline where it is alone."""
    before: str
    """That of the baseline; may be empty."""
    difference: str
    better: bool | None
    """Whether the difference is surely one for the better; ``None`` where that is not known."""
    beside: str = ""
    """What else to hold it against; may be empty."""


@dataclass(frozen=True)
class Answer:
    """What one run answers."""

    badge: str
    """May be empty: there is nothing to compare."""
    kind: Kind
    headline: str
    limits: str
    """Why that is no evidence; may be empty."""
    command: str
    """What to run next; may be empty."""
    notes: list[str]
    """What is wrong with either network."""
    bar: IntervalBar | None
    tiles: list[list[Tile]]
    """The first is quality, then costs, then latency; those that are not known are left out."""
    rows: list[ComparisonRow]


def answer(run: RunFiles, place: Path = Path()) -> Answer:
    """Return what a run answers; ``place`` is its folder, seen from where commands are typed."""
    before, after = figures_of(run)
    metric = next(iter(described(before, after)), None)
    paired = _paired(metric, run, before, after)
    law = run.search.law if run.search is not None else None
    kept = law is not None and law.kept_baseline
    interval = paired.interval if paired is not None else None
    kind = kind_of(metric, interval) if metric is not None else ""
    limits = evidence(before, after, paired)
    said = badge(metric, interval) if metric is not None and limits else ""
    useless = bool(said and below_input(after or {}))
    return Answer(
        badge="worse than its input" if useless else said,
        kind="worse" if useless else kind,
        headline=verdict(before, after, kept=kept, paired=paired),
        limits=limits,
        command=next_command(run, place) if limits else "",
        notes=_notes(run),
        bar=_bar(metric, paired),
        tiles=tiles_of(metric, before, after, kind),
        rows=comparison(before, after, kind),
    )


def answer_of(run_dir: Path) -> Answer:
    """Return what the run in a folder answers.

    Raises:
        FileError: the folder holds no files of a run, or one of them is damaged.
    """
    return answer(read_run(Path(run_dir)), Path(run_dir))


def figures_of(run: RunFiles) -> tuple[Figures | None, Figures | None]:
    """Return each network's figures; costs come from search and architecture if need be."""
    costs: dict[str, RecordedCost | None] = {}
    if run.architecture is not None:
        costs = {"baseline": run.architecture.baseline, "found": run.architecture.cost}
    elif run.baseline is not None and run.baseline.architecture is not None:
        costs = {"baseline": run.baseline.architecture.cost}
    if run.search is not None:
        costs |= run.search.cost
    figures = []
    for key, training in (("baseline", run.baseline), ("found", run.found)):
        cost = costs.get(key)
        known: dict[str, Any] = {} if cost is None else cost.model_dump()
        if training is not None and training.results is not None:
            known |= training.results.figures
        figures.append(known or None)
    return figures[0], figures[1]


def _paired(
    metric: Metric | None, run: RunFiles, before: Figures | None, after: Figures | None
) -> Paired | None:
    if metric is None or run.baseline is None or run.found is None:
        return None
    one, two = ((figures or {}).get(metric.name) for figures in (before, after))
    if one is None or two is None:
        return None
    return pair(metric, (one, two), (run.baseline.outcomes, run.found.outcomes))


def _bar(metric: Metric | None, paired: Paired | None) -> IntervalBar | None:
    if metric is None or paired is None:
        return None
    return interval_bar(metric, paired.mean, paired.interval, "the validation examples only")


def _notes(run: RunFiles) -> list[str]:
    """Return what is wrong with the outputs of either training, a sentence each."""
    trainings: tuple[tuple[str, TrainingRun | None], ...] = (
        ("Baseline", run.baseline),
        ("LW-DNA network", run.found),
    )
    said = []
    for name, training in trainings:
        if training is None or training.results is None or not training.results.metric:
            continue
        sentences = (look(training.results.figures) for look in (not_finite, below_input))
        said += [f"{name}: {sentence}" for sentence in sentences if sentence]
        said += [f"{name}: {remark}." for remark in training.results.remarks]
    return said


def tiles_of(
    metric: Metric | None, before: Figures | None, after: Figures | None, kind: Kind
) -> list[list[Tile]]:
    """Return tiles of quality, costs and latency, as far as they are known.

    Args:
        metric: the primary metric, which quality is.
        before: figures of the baseline, as in ``results.json``.
        after: those of the network found.
        kind: whether it is surely better or worse.
    """
    one, two = before or {}, after or {}
    tiles: list[list[Tile | None]] = []
    if metric is not None:
        values = one.get(metric.name), two.get(metric.name)
        texts = [format_metric(value, metric) for value in values]
        better = {"better": True, "worse": False, "": None}[kind]
        tile = _tile(metric.title, values, texts, format_gain(*values, metric), better)
        given = {**one, **two}.get(f"input_{metric.name}")
        if tile is not None and given is not None:
            tile = replace(tile, beside=f"the inputs themselves {format_metric(given, metric)}")
        tiles.append([tile])
    costs: list[Tile | None] = []
    for key, title in (("macs", "MACs"), ("params", "parameters")):
        values = old, new = one.get(key), two.get(key)
        better = None if old is None or new is None or old == new else new < old
        texts = [format_count(value) for value in values]
        costs.append(_tile(title, values, texts, format_change(*values), better))
    latency = one.get("latency_ms"), two.get("latency_ms")
    texts = [format_milliseconds(value) for value in latency]
    tiles += [costs, [_tile("latency", latency, texts, format_change(*latency), None)]]
    kept = [[tile for tile in part if tile is not None] for part in tiles]
    return [part for part in kept if part]


def _tile(
    title: str,
    values: tuple[Any, Any],
    texts: list[str],
    difference: str,
    better: bool | None,
) -> Tile | None:
    if values == (None, None):
        return None
    if None in values:
        return Tile(title, texts[1] if values[0] is None else texts[0], "", "", None)
    return Tile(title, texts[1], texts[0], difference, better)
