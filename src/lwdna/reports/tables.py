"""The comparison of two networks as plain rows, for the report and for the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lwdna.engine.task import Metric, described
from lwdna.reports.formats import (
    MISSING,
    format_bytes,
    format_change,
    format_count,
    format_gain,
    format_metric,
    format_milliseconds,
    format_seconds,
)
from lwdna.reports.paired import Kind

Figures = Mapping[str, Any]
"""Figures of one network by the names of ``results.json``: ``top1``, ``macs``, ``params``, ... and
what its metrics are, as :func:`lwdna.engine.task.describe` gives it."""


@dataclass(frozen=True)
class ComparisonRow:
    """One line of the comparison.

    ``difference`` is that from baseline to found; ``better`` says whether it surely favours the
    network found: ``None`` where the figures are equal, one is missing, or chance may have made
    the difference, as in any measurement of time.
    """

    metric: str
    baseline: str
    found: str
    difference: str
    better: bool | None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The texts in the order of :data:`COMPARISON_COLUMNS`."""
        return self.metric, self.baseline, self.found, self.difference


COMPARISON_COLUMNS = ("", "baseline", "LW-DNA", "difference")


@dataclass(frozen=True)
class _Figure:
    """A line of the tables: what it is called, how it is written and which way is better."""

    key: str
    title: str
    text: Callable[[float | None], str]
    difference: Callable[[float | None, float | None], str] = format_change
    higher_is_better: bool = False
    sure: bool = False
    """Whether any difference is one: a count, not a measurement."""


_COSTS = (
    _Figure("macs", "MACs", format_count, sure=True),
    _Figure("params", "parameters", format_count, sure=True),
    _Figure("memory", "peak activation memory", format_bytes, sure=True),
    _Figure("file_bytes", "weights file", format_bytes, sure=True),
    _Figure("latency_ms", "latency", format_milliseconds),
    _Figure("train_seconds", "training time", format_seconds),
)


def comparison(
    baseline: Figures | None, found: Figures | None, kind: Kind = ""
) -> list[ComparisonRow]:
    """Compare two networks, figure by figure.

    Args:
        baseline: figures of the baseline as in its ``results.json`` (the metrics described there,
            MACs and parameters as counts, ``file_bytes``, ``latency_ms``, ``train_seconds``), or
            ``None`` where there is none.
        found: the same of the network that was found.
        kind: whether the primary metric is surely better or worse; "" is not known.

    Returns:
        One row per figure that at least one of the two has: the primary metric, the others, costs.
    """
    rows = []
    primary = [metric.name for metric in described(baseline, found)[:1]]
    for figure in _figures(baseline, found):
        before, after = (_number(figures, figure.key) for figures in (baseline, found))
        if before is None and after is None:
            continue
        better = _better(figure, before, after)
        if figure.key in primary and kind:
            better = kind == "better"
        rows.append(
            ComparisonRow(
                metric=figure.title,
                baseline=figure.text(before),
                found=figure.text(after),
                difference=figure.difference(before, after),
                better=better,
            )
        )
    return rows


@dataclass(frozen=True)
class StageRow:
    """A figure of one network at several stages, and what became of it from the first to the last.

    ``better`` says whether the last surely favours it, ``None`` where that is not known.
    """

    title: str
    texts: tuple[str, ...]
    difference: str
    ratio: str
    better: bool | None


def stage_table(stages: Sequence[Figures]) -> list[StageRow]:
    """Return one row per figure that a stage has: the primary metric, the others, costs.

    Args:
        stages: figures as in ``results.json``, the metrics described there, in their order.
    """
    rows = []
    for figure in _figures(*stages):
        values = [_number(one, figure.key) for one in stages]
        if all(value is None for value in values):
            continue
        first, last = values[0], values[-1]
        better, ratio = None, MISSING
        if first is not None and last is not None:
            better = _better(figure, first, last)
            ratio = f"{last / first:.3g}" if first > 0 and figure in _COSTS else MISSING
        texts = tuple(map(figure.text, values))
        difference = figure.difference(first, last)
        rows.append(StageRow(figure.title, texts, difference, ratio, better))
    return rows


def figure_lines(figures: Figures) -> list[tuple[str, str]]:
    """Return the figures of one network as names and texts, in the order given."""
    texts = {figure.key: figure.text for figure in _figures(figures)}
    return [
        (key, texts[key](value) if key in texts else f"{value:.4g}")
        for key, value in figures.items()
        if key in texts or isinstance(value, float)
    ]


def stage_lines(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return what the stages of a ``slim.json`` are worth: a heading, then a line per figure.

    The last column is the difference between the first stage and the last.
    """
    words = {key: record[key] for key in ("metric", "metrics")}
    stages = [{**stage, **stage["metrics"], **words} for stage in record["stages"]]
    heading = ("", *(stage["name"] for stage in stages), "change")
    return [heading, *((row.title, *row.texts, row.difference) for row in stage_table(stages))]


def _figures(*given: Figures | None) -> list[_Figure]:
    return [*map(_of_metric, described(*given)), *_COSTS]


def _better(figure: _Figure, before: float | None, after: float | None) -> bool | None:
    if before is None or after is None or not figure.sure:
        return None
    if figure.difference(before, after) == figure.difference(before, before):  # as it is written
        return None
    return (after > before) == figure.higher_is_better


def _of_metric(metric: Metric) -> _Figure:
    return _Figure(
        key=metric.name,
        title=metric.title,
        text=partial(format_metric, metric=metric),
        difference=partial(format_gain, metric=metric),
        higher_is_better=metric.higher_is_better,
    )


def _number(figures: Figures | None, key: str) -> float | None:
    value = (figures or {}).get(key)
    return value if isinstance(value, int | float) else None
