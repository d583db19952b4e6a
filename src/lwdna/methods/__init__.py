"""Ways to find widths: the paper's method and, on the same pieces, its relatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.methods.budget import Budget
    from lwdna.methods.criteria.table import register_criterion
    from lwdna.methods.distill import distilled
    from lwdna.methods.keep.table import register_keep_rule
    from lwdna.methods.prepare import Trained
    from lwdna.methods.search import Search, search, shrink
    from lwdna.methods.settings import DistillSettings, ShrinkSettings
    from lwdna.methods.slimming import Slimmed, SlimSettings, slim
    from lwdna.methods.trials.runs import TrialSetup
    from lwdna.methods.warmup import WarmupRun

__all__ = [
    "Budget",
    "DistillSettings",
    "Search",
    "ShrinkSettings",
    "SlimSettings",
    "Slimmed",
    "Trained",
    "TrialSetup",
    "WarmupRun",
    "distilled",
    "register_criterion",
    "register_keep_rule",
    "search",
    "shrink",
    "slim",
]

export_lazily(
    __name__,
    {
        "lwdna.methods.budget": ("Budget",),
        "lwdna.methods.criteria.table": ("register_criterion",),
        "lwdna.methods.distill": ("distilled",),
        "lwdna.methods.keep.table": ("register_keep_rule",),
        "lwdna.methods.prepare": ("Trained",),
        "lwdna.methods.search": ("Search", "search", "shrink"),
        "lwdna.methods.settings": ("DistillSettings", "ShrinkSettings"),
        "lwdna.methods.slimming": ("Slimmed", "SlimSettings", "slim"),
        "lwdna.methods.trials.runs": ("TrialSetup",),
        "lwdna.methods.warmup": ("WarmupRun",),
    },
)
