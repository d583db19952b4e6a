"""What a batch is made of; which examples it takes is decided by :mod:`lwdna.engine.order`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """All that must be known to make a batch: examples by number, the run's seed and the epoch."""

    indices: list[int]
    seed: int = 0
    epoch: int = 0
