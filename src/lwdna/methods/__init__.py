"""Ways to find widths: the paper's method and, on the same pieces, its relatives."""

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
