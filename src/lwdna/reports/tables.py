"""The comparison of two networks as plain rows, for the report and for the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lwdna.reports.formats import (
    format_bytes,
    format_change,
    format_count,
    format_milliseconds,
    format_percent,
    format_points,
    format_seconds,
    format_similarity,
    format_similarity_gain,
)
from lwdna.reports.scores import SCORES

Figures = Mapping[str, Any]
"""Figures of one network by the names of ``results.json``: ``top1``, ``macs``, ``params``, ..."""


@dataclass(frozen=True)
class ComparisonRow:
    """One line of the comparison.

    ``difference`` is that from baseline to found; ``better`` says whether it favours the network
    found, ``None`` where the figures are equal or one is missing.
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
class _Metric:
    key: str
    title: str
    text: Callable[[float | None], str]
    difference: Callable[[float | None, float | None], str] = format_change
    higher_is_better: bool = False


_METRICS = (
    *(_Metric(s.key, s.title, s.text, s.difference, higher_is_better=True) for s in SCORES),
    _Metric("ssim", "SSIM", format_similarity, format_similarity_gain, higher_is_better=True),
    _Metric("top5", "top-5 accuracy", format_percent, format_points, higher_is_better=True),
    _Metric("macs", "MACs", format_count),
    _Metric("params", "parameters", format_count),
    _Metric("memory", "peak activation memory", format_bytes),
    _Metric("file_bytes", "weights file", format_bytes),
    _Metric("latency_ms", "latency", format_milliseconds),
    _Metric("train_seconds", "training time", format_seconds),
)


def comparison(baseline: Figures | None, found: Figures | None) -> list[ComparisonRow]:
    """Compare two networks, metric by metric.

    Args:
        baseline: figures of the baseline as in its ``results.json`` (accuracies in percent, MACs
            and parameters as counts, ``file_bytes``, ``latency_ms``, ``train_seconds``), or
            ``None`` where there is none.
        found: the same of the network that was found.

    Returns:
        One row per metric that at least one of the two has, in a fixed order.
    """
    rows = []
    for metric in _METRICS:
        before, after = (_number(figures, metric.key) for figures in (baseline, found))
        if before is None and after is None:
            continue
        better = None
        if before is not None and after is not None and before != after:
            better = (after > before) == metric.higher_is_better
        rows.append(
            ComparisonRow(
                metric=metric.title,
                baseline=metric.text(before),
                found=metric.text(after),
                difference=metric.difference(before, after),
                better=better,
            )
        )
    return rows


def _number(figures: Figures | None, key: str) -> float | None:
    value = (figures or {}).get(key)
    return value if isinstance(value, int | float) else None
