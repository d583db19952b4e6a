"""Ways to find widths: the paper's method and, on the same pieces, its relatives."""

from lwdna.methods.prepare import Trained
from lwdna.methods.search import Search, search, shrink
from lwdna.methods.settings import Budget, ShrinkSettings

__all__ = ["Budget", "Search", "ShrinkSettings", "Trained", "search", "shrink"]
