"""A training that may end before its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EndCheck:
    """Says whether a training ends."""

    every: int
    """Optimizer steps between two looks, counted from the very beginning."""
    met: Callable[[], bool]
    """Whether to end after this step. It must follow from the parameters alone; what the first
    process finds counts for all."""
