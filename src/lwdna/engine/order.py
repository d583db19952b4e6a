"""Which examples form which batch, from the seed alone.

Nothing here keeps state, so a resumed run sees the batches it would have seen, and any number
of processes shares the same global batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """Examples that lie together, as in a file, and should be used at about the same time."""

    numbers: NDArray[np.integer[Any]]
    """The group of each example, shape (N,)."""
    at_once: int
    """How many groups are in use at a time."""


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Return the number of global batches; a partial one counts only when it is the only one."""
    return max(1, size // batch_size)


def train_batches(
    size: int, batch_size: int, *, seed: int, epoch: int, groups: Groups | None = None
) -> list[Indices]:
    """Return the global batches of an epoch: slices of a permutation of ``range(size)``.

    The last partial batch is dropped unless it is the only one, so every step has equal weight.

    Args:
        size: how many examples there are.
        batch_size: of a global batch.
        seed: of the run.
        epoch: counted from 0.
        groups: use examples of few groups at a time: the groups come in random order, one after
            the other, and every one is spread evenly over the time of ``at_once`` of them.
    """
    generator = np.random.default_rng((seed, epoch))
    if groups is None:
        order = generator.permutation(size)
    else:
        _, group = np.unique(groups.numbers, return_inverse=True)
        start = generator.permutation(int(group.max()) + 1)[group]
        order = np.argsort(start + groups.at_once * generator.random(size), kind="stable")
    count = steps_per_epoch(size, batch_size)
    return [order[i * batch_size : (i + 1) * batch_size] for i in range(count)]


def share(batch: Indices, *, rank: int, processes: int, parts: int = 1) -> list[list[int]]:
    """Return what one process works on of a global batch, in at most ``parts`` portions.

    The shares of all processes together are the batch; their sizes differ by at most one.
    """
    own = np.array_split(batch, processes)[rank]
    return [part.tolist() for part in np.array_split(own, min(parts, len(own)))]


def eval_batches(size: int, batch_size: int, *, rank: int, processes: int) -> list[list[int]]:
    """Return one process's batches of an evaluation over ``range(size)``.

    Over all processes every index occurs exactly once; a process may have no batch at all.
    """
    own = list(range(rank, size, processes))
    step = max(1, batch_size // processes)
    return [own[i : i + step] for i in range(0, len(own), step)]


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's generators for one optimizer step.

    Dropout, stochastic depth and the like then follow from (seed, step, rank) alone: a resumed
    run repeats them exactly without any generator state in the checkpoint.
    """
    state = int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0])
    if torch.accelerator.is_available():
        torch.manual_seed(state)
    else:  # the above would note for every device that is not there who asked, for 0.3 ms and more
        torch.default_generator.manual_seed(state)
