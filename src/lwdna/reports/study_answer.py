"""What a comparison answers first: of one arm a badge, three tiles and the interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from lwdna.arms import BASELINE
from lwdna.engine.task import Metric, describe
from lwdna.reports import study
from lwdna.reports.answer import Tile, tiles_of
from lwdna.reports.cells import Cell, Cells
from lwdna.reports.paired import IntervalBar, Kind, badge, interval_bar, kind_of


@dataclass(frozen=True)
class StudyAnswer:
    """What a comparison says of one arm against the baseline."""

    arm: str
    badge: str
    kind: Kind
    headline: str
    others: list[str]
    """What there is to say of all other differences."""
    bar: IntervalBar | None
    tiles: list[list[Tile]]


def study_answer(cells: Cells, part: study.Part) -> StudyAnswer | None:
    """Return the answer on the network found, or else on the first arm; ``None`` without a pair."""
    arms = [arm for arm, other in part.differences if other == BASELINE]
    if not arms:
        return None
    arm = study.METHOD if study.METHOD in arms else arms[0]
    pair = part.differences[arm, BASELINE]
    verdicts = dict(zip(part.differences, part.verdicts, strict=True))
    headline = verdicts.pop((arm, BASELINE))
    metric, interval, seeds = cells.metric, pair.found.interval, len(pair.seeds)
    over = f"{seeds} seeds" if seeds > 1 else "one seed"
    kind = kind_of(metric, interval)
    kept = cells.kept_baseline(arm) and not any(pair.found.values)
    return StudyAnswer(
        arm=arm,
        badge="the baseline was kept" if kept else badge(metric, interval, f"over {over}"),
        kind="" if kept else kind,
        headline=headline,
        others=list(verdicts.values()),
        bar=interval_bar(metric, pair.found.mean, interval, _over(metric, cells, over))
        if interval is not None
        else None,
        tiles=_tiles(cells, part, arm, kind),
    )


def _over(metric: Metric, cells: Cells, seeds: str) -> str:
    return f"{seeds} and {cells.any.examples} examples" if metric.mean_of_examples else seeds


def _tiles(cells: Cells, part: study.Part, arm: str, kind: Kind) -> list[list[Tile]]:
    """Return the tiles of an arm: quality, costs, latency, means over the seeds of both."""
    pair = part.differences[arm, BASELINE]
    figures = [_figures(cells, part, name, pair.seeds) for name in (BASELINE, arm)]
    return tiles_of(cells.metric, figures[0], figures[1], kind)


def _figures(cells: Cells, part: study.Part, arm: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Return means over the seeds that both arms have, as in a ``results.json``."""
    by_seed = dict(zip(cells.arms[arm], part.values[arm], strict=True))
    chosen = [cells.arms[arm][seed] for seed in seeds]
    figures: dict[str, Any] = {
        **describe(cells.metric),
        cells.metric.name: fmean(by_seed[seed] for seed in seeds),
        **cells.cost(arm),
    }
    latency = mean_of(chosen, "latency_ms")
    return figures if latency is None else {**figures, "latency_ms": latency}


def mean_of(cells: Sequence[Cell], key: str) -> float | None:
    """Return the mean of a figure, ``None`` where a training lacks it."""
    known: list[Any] = [cell.results.get(key) for cell in cells]
    return None if None in known else fmean(known)
