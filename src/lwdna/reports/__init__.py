"""Reports: results and pictures from the files of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.reports.answer import Answer, answer_of
    from lwdna.reports.class_figures import Predictions, class_results, write_predictions
    from lwdna.reports.formats import (
        format_bytes,
        format_change,
        format_count,
        format_gain,
        format_metric,
        format_milliseconds,
        format_percent,
        format_seconds,
        format_trials,
    )
    from lwdna.reports.graph_page import write_graph_page
    from lwdna.reports.law import law_lines
    from lwdna.reports.report import compare_run, write_report
    from lwdna.reports.sensitivity import (
        read_sensitivity,
        sensitivity_columns,
        sensitivity_evidence,
        sensitivity_lines,
        sensitivity_words,
    )
    from lwdna.reports.study_page import COMPARED, comparison_lines, write_comparison
    from lwdna.reports.tables import (
        COMPARISON_COLUMNS,
        ComparisonRow,
        comparison,
        figure_lines,
        stage_lines,
    )
    from lwdna.reports.verdict import evidence, little_to_gain, not_finite, verdict

__all__ = [
    "COMPARED",
    "COMPARISON_COLUMNS",
    "Answer",
    "ComparisonRow",
    "Predictions",
    "answer_of",
    "class_results",
    "compare_run",
    "comparison",
    "comparison_lines",
    "evidence",
    "figure_lines",
    "format_bytes",
    "format_change",
    "format_count",
    "format_gain",
    "format_metric",
    "format_milliseconds",
    "format_percent",
    "format_seconds",
    "format_trials",
    "law_lines",
    "little_to_gain",
    "not_finite",
    "read_sensitivity",
    "sensitivity_columns",
    "sensitivity_evidence",
    "sensitivity_lines",
    "sensitivity_words",
    "stage_lines",
    "verdict",
    "write_comparison",
    "write_graph_page",
    "write_predictions",
    "write_report",
]

export_lazily(
    __name__,
    {
        "lwdna.reports.answer": ("Answer", "answer_of"),
        "lwdna.reports.class_figures": (
            "Predictions",
            "class_results",
            "write_predictions",
        ),
        "lwdna.reports.formats": (
            "format_bytes",
            "format_change",
            "format_count",
            "format_gain",
            "format_metric",
            "format_milliseconds",
            "format_percent",
            "format_seconds",
            "format_trials",
        ),
        "lwdna.reports.graph_page": ("write_graph_page",),
        "lwdna.reports.law": ("law_lines",),
        "lwdna.reports.report": (
            "compare_run",
            "write_report",
        ),
        "lwdna.reports.sensitivity": (
            "read_sensitivity",
            "sensitivity_columns",
            "sensitivity_evidence",
            "sensitivity_lines",
            "sensitivity_words",
        ),
        "lwdna.reports.study_page": (
            "COMPARED",
            "comparison_lines",
            "write_comparison",
        ),
        "lwdna.reports.tables": (
            "COMPARISON_COLUMNS",
            "ComparisonRow",
            "comparison",
            "figure_lines",
            "stage_lines",
        ),
        "lwdna.reports.verdict": (
            "evidence",
            "little_to_gain",
            "not_finite",
            "verdict",
        ),
    },
)
