"""Ways to find widths: the paper's method and, on the same pieces, its relatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.methods.distill import DistillSettings, distilled
    from lwdna.methods.prepare import Trained
    from lwdna.methods.search import Search, search, shrink
    from lwdna.methods.settings import Budget, ShrinkSettings
    from lwdna.methods.trials import Bench
    from lwdna.methods.warmup import Course

__all__ = [
    "Bench",
    "Budget",
    "Course",
    "DistillSettings",
    "Search",
    "ShrinkSettings",
    "Trained",
    "distilled",
    "search",
    "shrink",
]

export_lazily(
    __name__,
    {
        "lwdna.methods.distill": (
            "DistillSettings",
            "distilled",
        ),
        "lwdna.methods.prepare": ("Trained",),
        "lwdna.methods.search": (
            "Search",
            "search",
            "shrink",
        ),
        "lwdna.methods.settings": (
            "Budget",
            "ShrinkSettings",
        ),
        "lwdna.methods.trials": ("Bench",),
        "lwdna.methods.warmup": ("Course",),
    },
)
