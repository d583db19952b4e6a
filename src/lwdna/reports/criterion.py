"""Geometry of the criterion's distribution: a histogram of all scores and a strip per group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lwdna.reports.axes import Axis, Tick, axis_from_zero, axis_of_scores
from lwdna.reports.formats import format_percent, format_score, format_tick
from lwdna.reports.records import GroupRecord

_BINS = 60
# Scores below this quantile share the first bar, so that a few near zero do not stretch the axis.
_LOWEST = 0.002

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HistogramBin:
    """Scores of one bin by fate; the three shares are heights between 0 and 1, to be stacked."""

    left: float
    right: float
    removed: float
    below: float
    above: float
    title: str


@dataclass(frozen=True)
class GroupStrip:
    """Spread of one group's scores: least, quartiles and largest as places on the axis."""

    name: str
    least: float
    lower: float
    median: float
    upper: float
    largest: float
    median_value: float
    median_text: str
    kept: int
    width: int
    share: float
    share_text: str
    at_floor: bool


@dataclass(frozen=True)
class Criterion:
    """Everything the criterion's section shows.

    Counts are of widened channels: ``removed``, kept with a score at or ``above`` the threshold,
    and kept ``below`` it by a group's floor (or by rounding).
    """

    bins: list[HistogramBin]
    strips: list[GroupStrip]
    score_ticks: list[Tick]
    count_ticks: list[Tick]
    logarithmic: bool
    threshold: float | None
    threshold_text: str
    removed: int
    below: int
    above: int
    off_axis: int
    not_finite: int
    far_below: list[str]


def criterion(groups: Sequence[GroupRecord], threshold: float | None) -> Criterion | None:
    """Lay out the scores of ``groups``; ``None`` where there is not one finite score.

    A group keeps its ``found`` best channels, so a channel's fate follows from its rank.
    """
    scored = [(group, np.sort(_finite(group.scores))[::-1]) for group in groups]
    scored = [(group, scores) for group, scores in scored if scores.size]
    if not scored:
        return None
    every = np.concatenate([scores for _, scores in scored])
    axis = _axis(every, threshold)
    level = -math.inf if threshold is None else threshold
    fates = _fates(scored, level)
    removed, below, above = fates
    edges = _edges(None if threshold is None else axis.position(threshold))
    bins, counts = _histogram(axis, edges, (removed, below, above))
    return Criterion(
        bins=bins,
        strips=[_strip(group, scores, axis) for group, scores in scored],
        score_ticks=axis.ticks(format_score, count=6),
        count_ticks=counts.ticks(format_tick, count=4),
        logarithmic=axis.logarithmic,
        threshold=None if threshold is None else axis.position(threshold),
        threshold_text="" if threshold is None else format_score(threshold),
        removed=removed.size,
        below=below.size,
        above=above.size,
        off_axis=int((every < axis.low).sum()),
        not_finite=sum(len(group.scores) for group in groups) - every.size,
        far_below=[
            group.name
            for group, scores in scored
            if threshold is not None and np.quantile(scores, 0.75) < threshold
        ],
    )


def _finite(scores: Sequence[float]) -> _Floats:
    values = np.asarray(scores, dtype=np.float64)
    return values[np.isfinite(values)]


def _axis(scores: _Floats, threshold: float | None) -> Axis:
    high = float(scores.max())
    positive = scores[scores > 0]
    low = float(np.quantile(positive, _LOWEST)) if positive.size else 0.0
    if threshold is not None and 0 < threshold < math.inf:
        low, high = min(low, threshold), max(high, threshold)
    return axis_of_scores(low, high)


def _fates(
    scored: Sequence[tuple[GroupRecord, _Floats]], level: float
) -> tuple[_Floats, _Floats, _Floats]:
    """Return the scores of channels removed, kept below the threshold and kept above it."""
    removed = np.concatenate([scores[group.found :] for group, scores in scored])
    kept = np.concatenate([scores[: group.found] for group, scores in scored])
    return removed, kept[kept < level], kept[kept >= level]


def _histogram(
    axis: Axis, edges: _Floats, fates: tuple[_Floats, _Floats, _Floats]
) -> tuple[list[HistogramBin], Axis]:
    parts = np.stack([_count(axis, edges, scores) for scores in fates])
    counts = axis_from_zero(float(parts.sum(axis=0).max()))
    bins = []
    for index in range(edges.size - 1):
        sizes = [int(part[index]) for part in parts]
        if not any(sizes):
            continue
        left, right = (format_score(_value(axis, float(edge))) for edge in edges[index : index + 2])
        bins.append(
            HistogramBin(
                left=float(edges[index]),
                right=float(edges[index + 1]),
                removed=counts.position(sizes[0]),
                below=counts.position(sizes[1]),
                above=counts.position(sizes[2]),
                title=f"score {left} to {right}: {sizes[0]} removed, {sizes[1]} kept by the floor, "
                f"{sizes[2]} kept by score",
            )
        )
    return bins, counts


def _edges(threshold: float | None) -> _Floats:
    """Return bin edges from 0 to 1, one of them at the threshold, which no bin should straddle."""
    edges = np.arange(_BINS + 1) / _BINS
    if threshold is not None:
        edges = edges + threshold % (1 / _BINS)
    inner = edges[(edges > 1e-6) & (edges < 1 - 1e-6)]
    return np.concatenate([[0.0], inner, [1.0]])


def _count(axis: Axis, edges: _Floats, scores: _Floats) -> NDArray[np.int64]:
    # Rounded, so that a score equal to the threshold lies on the edge and not a hair below it.
    places = np.array([axis.position(score) for score in scores.tolist()]).round(12)
    return np.histogram(places, bins=edges.round(12))[0].astype(np.int64)


def _value(axis: Axis, position: float) -> float:
    """Return the score at a place on the axis."""
    if axis.logarithmic:
        return float(axis.low * (axis.high / axis.low) ** position)
    return axis.low + position * (axis.high - axis.low)


def _strip(group: GroupRecord, scores: _Floats, axis: Axis) -> GroupStrip:
    values = [float(np.quantile(scores, part)) for part in (0.0, 0.25, 0.5, 0.75, 1.0)]
    least, lower, median, upper, largest = (axis.position(value) for value in values)
    kept = min(group.found, scores.size)
    return GroupStrip(
        name=group.name,
        least=least,
        lower=lower,
        median=median,
        upper=upper,
        largest=largest,
        median_value=values[2],
        median_text=format_score(values[2]),
        kept=kept,
        width=scores.size,
        share=kept / scores.size,
        share_text=format_percent(100 * kept / scores.size, digits=0),
        at_floor=group.floor is not None and group.found <= group.floor,
    )
