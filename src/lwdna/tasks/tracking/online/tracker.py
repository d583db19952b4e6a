"""What a tracker is, whatever it is made of: it is shown one box, then finds it frame by frame."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lwdna.errors import DataError

State = Literal["normal", "hard_negative", "uncertain", "not_found"]
"""``hard_negative``: found, and something like the target is elsewhere in sight. ``uncertain``: one
of two places, the better was taken. ``not_found``: the box is that of the frame before."""

Image = NDArray[np.uint8]
"""One frame, (H, W, 3), RGB."""
Box = NDArray[np.float64]
"""x, y, w, h in pixels, (4,); pixel i covers [i, i + 1]."""
LEAST_SIDE = 4.0
"""Boxes that a tracker finds have no shorter side, in pixels."""


@dataclass(frozen=True)
class Found:
    """Where the target is in a frame."""

    box: Box
    """x, y, w, h in pixels, float64, (4,)."""
    score: float
    """How sure the tracker is; comparable between frames of one tracker only."""
    state: State


class Tracker(Protocol):
    """Follows one target; ``start`` begins anew, so one tracker serves any number of sequences.

    What is random follows from the tracker's seed and the number of the frame alone.
    """

    def start(self, image: Image, box: Any) -> None:
        """Learn the target from its first frame.

        Args:
            image: the frame, uint8, (H, W, 3).
            box: x, y, w, h in pixels.

        Raises:
            DataError: the box is not four finite numbers, has no area or lies outside of the frame.
            TrainingError: what the network gives is not finite.
        """
        ...

    def track(self, image: Image) -> Found:
        """Find the target in the next frame; a target that is lost is ``not_found``.

        Raises:
            TrainingError: what the network gives is not finite.
        """
        ...


class Step(NamedTuple):
    """What a tracker did with one frame."""

    found: Found
    seconds: float
    """What it took, decoding excluded."""


@dataclass(frozen=True)
class Track:
    """Where a tracker found its target in the ``n`` frames of a sequence."""

    boxes: NDArray[np.float64]
    """(n, 4); the first row is the box that was given."""
    scores: NDArray[np.float64]
    """(n,); 1 for the first frame."""
    states: tuple[State, ...]
    seconds: NDArray[np.float64]
    """What the tracker took for each frame, decoding excluded; (n,)."""

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Track:
        """Put the frames of a sequence together, one at least."""
        return cls(
            np.stack([step.found.box for step in steps]),
            np.array([step.found.score for step in steps]),
            tuple(step.found.state for step in steps),
            np.array([step.seconds for step in steps]),
        )

    @property
    def frames_per_second(self) -> float:
        """Of all frames after the first, whose samples take longer; NaN where there are none."""
        seconds = float(self.seconds[1:].sum())
        return (len(self.seconds) - 1) / seconds if seconds > 0 else float("nan")


def follow(tracker: Tracker, frames: Iterable[Image], box: Any) -> Track:
    """Show ``tracker`` the box in the first frame and follow the target through the others.

    Raises:
        DataError: there is no frame, or the box does not suit the first (:meth:`Tracker.start`).
        TrainingError: what the network gives is not finite.
    """
    steps = [step for _, step in followed(tracker, frames, box)]
    if not steps:
        raise DataError("there are no frames to track a target in; give one frame or more")
    return Track.of(steps)


def followed(tracker: Tracker, frames: Iterable[Image], box: Any) -> Iterator[tuple[Image, Step]]:
    """Yield every frame with what :func:`follow` finds in it, once it has been found.

    Raises:
        DataError: the box does not suit the first frame (:meth:`Tracker.start`).
        TrainingError: what the network gives is not finite.
    """
    for number, image in enumerate(frames):
        begun = time.perf_counter()
        if number:
            found = tracker.track(image)
        else:
            tracker.start(image, box)
            found = Found(np.array(box, np.float64), 1.0, "normal")
        yield image, Step(found, time.perf_counter() - begun)


def checked_box(box: Any, image: Image) -> Box:
    """Return the box of a target in its first frame as float64, (4,).

    Raises:
        DataError: it is not four finite numbers, has no area or lies outside of the frame.
    """
    height, width = image.shape[:2]
    try:
        x, y, w, h = (float(number) for number in box)
    except (TypeError, ValueError):
        raise DataError(f"the first box is {box}; give four numbers: x, y, width, height") from None
    given = f"the first box is x {x:g}, y {y:g}, width {w:g}, height {h:g}"
    if not np.isfinite([x, y, w, h]).all():
        raise DataError(f"{given}; give four finite numbers")
    if w <= 0 or h <= 0:
        raise DataError(f"{given}; width and height must be more than 0 pixels")
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise DataError(
            f"{given}, outside of the frame of {width} x {height} pixels; "
            "give a box that lies in it at least in part"
        )
    return np.array([x, y, w, h])


def bounded(box: Box, image: Image, first: Box) -> Box:
    """Return a box whose centre is in the frame and whose sides are between bounds.

    A side is at least 4 pixels, or as in the first frame if that is less; and at most that of the
    frame, or as in the first frame if that is more.

    Args:
        box: x, y, w, h.
        image: the frame.
        first: the box in the first frame.
    """
    frame = np.array([image.shape[1], image.shape[0]], np.float64)
    least, most = np.minimum(LEAST_SIDE, first[2:]), np.maximum(frame, first[2:])
    sides = np.clip(box[2:], least, most)
    centre = np.clip(box[:2] + box[2:] / 2, 0, frame)
    return np.concatenate([centre - sides / 2, sides])
