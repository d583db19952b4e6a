"""A part of a task's validation set, which is gone through many times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lwdna.engine import Task

_MOST_KEPT = 2**30
"""Bytes of batches that are kept instead of being read again."""


def part_of(task: Task, images: int | None, seed: int) -> Task:
    """Return a task with some of the validation examples of another, drawn at random.

    Validation sets are often sorted by class, so that the first examples say little. Batches are
    kept in memory where they are small.

    Args:
        task: everything but the validation set stays as it is.
        images: how many examples; None, or more than there are, is all.
        seed: decides which.
    """
    size = task.eval_size
    places = np.arange(size)
    if images is not None and images < size:
        places = np.sort(np.random.default_rng((seed, size)).permutation(size)[:images])
    return cast(Task, _Part(task, places.tolist()))


class _Part:
    def __init__(self, task: Task, places: Sequence[int]) -> None:
        self.eval_size = len(places)
        self._task = task
        self._places = places
        self._kept: list[Any] | None = None
        self._batches: Sequence[Sequence[int]] = ()

    def eval_batches(
        self, batches: Sequence[Sequence[int]], *, device: torch.device
    ) -> Iterator[Any]:
        if self._kept is not None and self._batches == batches:
            yield from self._kept
            return
        kept: list[Any] = []
        used = 0
        there = [[self._places[index] for index in batch] for batch in batches]
        for batch in self._task.eval_batches(there, device=device):
            used += sum(x.nbytes for x in tree_leaves(batch) if isinstance(x, Tensor))
            if used <= _MOST_KEPT:
                kept.append(batch)
            yield batch
        if used <= _MOST_KEPT:
            self._kept, self._batches = kept, batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)
