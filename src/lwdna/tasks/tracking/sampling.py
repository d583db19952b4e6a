"""Which frames of which sequence a training example shows: by random numbers of its own."""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lwdna.data.sequences import Sequence
from lwdna.errors import DataError

GROWTH = 5
"""By how many frames the gap grows where none fits."""
_TRIES = 1000
"""Sequences that are drawn before a set counts as one without targets."""


@dataclass(frozen=True)
class WeightedSet:
    """Sequences of one set, and how often an example comes from it, compared with others."""

    sequences: Ordered[Sequence]
    weight: float


def choose_sequence(sets: Ordered[WeightedSet], generator: np.random.Generator) -> Sequence:
    """Draw a set by its weight, and a sequence of it that shows its target at least once.

    Raises:
        DataError: so many sequences without a visible target were drawn that there seems to be no
            other.
    """
    weights = np.array([one.weight for one in sets])
    for _ in range(_TRIES):
        chosen = sets[int(generator.choice(len(sets), p=weights / weights.sum()))].sequences
        sequence = chosen[int(generator.integers(len(chosen)))]
        if showing(sequence).any():
            return sequence
    raise DataError(
        f"{_TRIES} sequences were drawn, and no frame of any shows its target; look at the "
        "annotations, or leave such sequences out by data.train"
    )


def showing(sequence: Sequence) -> NDArray[np.bool_]:
    """Return of every frame whether it can be learnt from, shape (n,): a visible target, a box."""
    known = np.isfinite(sequence.boxes).all(axis=1)
    return np.logical_and(known, sequence.visible)


def choose_frames(
    visible: NDArray[np.bool_], train: int, test: int, gap: int, generator: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Draw training frames, and test frames that come after them.

    One frame is drawn out of all that leave a visible one on either side. It is the last training
    frame; the others are drawn, with repetition, out of those at most ``gap`` before it, and the
    test frames out of those at most ``gap`` after it. Where there is none so near, ``gap`` grows.
    Without any frame before or after, the one drawn takes its place: a still image is shown all
    the time.

    Args:
        visible: whether a frame can be learnt from, shape (n,); true at least once.
        train: how many training frames, at least 1.
        test: how many test frames.
        gap: in frames.
        generator: draws.

    Returns:
        Numbers of training frames, the last of them first, and of test frames.
    """
    usable = np.flatnonzero(visible)
    middle = usable[int(train > 1) : -1] if len(usable) > 2 else usable[: max(1, len(usable) - 1)]
    last = int(generator.choice(middle))
    before = _near(usable[usable < last], last, gap)
    after = _near(usable[usable > last], last, gap)
    earlier, later = (near if len(near) else np.array([last]) for near in (before, after))
    return (
        [last, *map(int, generator.choice(earlier, train - 1))],
        [*map(int, generator.choice(later, test))],
    )


def _near(frames: NDArray[np.intp], middle: int, gap: int) -> NDArray[np.intp]:
    """Return the frames within the gap, which grows until it holds one, if there is any."""
    distances = np.abs(frames - middle)
    if len(frames) and distances.min() > gap:
        gap += GROWTH * -(-(int(distances.min()) - gap) // GROWTH)
    return frames[distances <= gap]
