"""Sequences made from scikit-learn's two photographs: a patch of one moves over the other.

They need no files of one's own, and their truth is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lwdna.data.image_files import Pixels, decode, open_file
from lwdna.data.sequences.memory import FrameMemory
from lwdna.data.sequences.sequence import Boxes, Sequence

_NAMES = ("china", "flower")
_SIDES = (0.15, 0.28)
"""Mean side of the target at the start, in units of the frame's shorter side."""
_GROWTH = 0.3
"""Its size goes up and down by the exponential of that."""
_ASPECTS = (0.6, 1.6)
_SPEEDS = (0.006, 0.02)
"""How often in a frame the target goes to and fro across the picture."""
_TRIES = 8
"""Parts of a photograph of which the one with most texture becomes the target."""


def photo_sequences(
    count: int, frames: int, seed: int, size: tuple[int, int] = (160, 120)
) -> list[Sequence]:
    """Return sequences whose target, a patch of a photograph, moves smoothly and changes size.

    Sequence i follows from (seed, i); those of even number are flower over china, the others china
    over flower.

    Args:
        count: number of sequences.
        frames: of each.
        seed: of places, sizes and speeds.
        size: width and height of the frames.

    Raises:
        ValueError: there are no frames, or they have fewer than 32 pixels a side.
    """
    if count < 1 or frames < 1 or min(size) < 32:
        raise ValueError(f"no sequences: {count} of {frames} frames of {size[0]}x{size[1]} pixels")
    memory = FrameMemory()
    found = []
    for number in range(count):
        made = PhotoFrames.drawn(number, frames, seed, size)
        visible = np.ones(frames, dtype=np.bool_)
        found.append(Sequence(f"photos-{seed}-{number}", made.boxes, visible, made, memory))
    return found


@dataclass(frozen=True)
class PhotoFrames:
    """The frames of one sequence, drawn when they are asked for."""

    name: str
    background: Pixels
    """Shape (H, W, 3)."""
    patch: Pixels
    """The target at its largest, shape (h, w, 3)."""
    boxes: Boxes
    """On whole pixels."""

    @classmethod
    def drawn(cls, number: int, frames: int, seed: int, size: tuple[int, int]) -> PhotoFrames:
        """Draw what is shown and how it moves."""
        random = np.random.default_rng((seed, number))
        shorter = min(size)
        side = shorter * _between(random, _SIDES)
        stretch = np.sqrt(_between(random, _ASPECTS))
        boxes = _path(random, frames, size, (side * stretch, side / stretch))
        largest = boxes[:, 2:].max(axis=0).astype(int)
        below, above = (_photo(name) for name in _NAMES[:: 1 if number % 2 == 0 else -1])
        return cls(
            name=f"photos/{seed}/{number}/{frames}/{size[0]}x{size[1]}",
            background=_part(random, below, size),
            patch=max(
                (_part(random, above, (int(largest[0]), int(largest[1]))) for _ in range(_TRIES)),
                key=_texture,
            ),
            boxes=boxes,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def path(self, number: int) -> Path:
        return Path(f"{self.name}/{number}")

    def read(self, number: int) -> Pixels:
        frame = self.background.copy()
        x, y, width, height = self.boxes[number].astype(int)
        patch = Image.fromarray(self.patch).resize((width, height), Image.Resampling.BILINEAR)
        frame[y : y + height, x : x + width] = np.asarray(patch)
        return frame

    def size(self) -> tuple[int, int]:
        return self.background.shape[1], self.background.shape[0]

    def content(self, number: int) -> bytes:
        return self.read(number).tobytes()


def _path(
    random: np.random.Generator, frames: int, size: tuple[int, int], target: tuple[float, float]
) -> Boxes:
    """Return boxes that swing across the picture and breathe, on whole pixels inside it."""
    time = np.arange(frames)

    def swing() -> NDArray[np.float64]:
        turns = time * _between(random, _SPEEDS) + random.random()
        swung: NDArray[np.float64] = np.sin(2 * np.pi * turns)
        return swung

    scale = np.exp(_GROWTH * swing())
    boxes = np.empty((frames, 4))
    for axis in range(2):
        length = np.rint(np.maximum(target[axis] * scale, 4))
        boxes[:, 2 + axis] = length
        boxes[:, axis] = np.rint((size[axis] - length) * (1 + swing()) / 2)
    return boxes


def _part(random: np.random.Generator, photo: Image.Image, size: tuple[int, int]) -> Pixels:
    """Return a random part of a photograph, as large as it can be, made this large."""
    scale = max(size[0] / photo.width, size[1] / photo.height, 0.5)
    width, height = min(size[0] / scale, photo.width), min(size[1] / scale, photo.height)
    left = (photo.width - width) * random.random()
    top = (photo.height - height) * random.random()
    box = (left, top, left + width, top + height)
    return np.array(photo.resize(size, Image.Resampling.BILINEAR, box=box))


def _texture(pixels: Pixels) -> float:
    """Return the mean difference of neighbouring pixels."""
    values = pixels.astype(np.float64)
    return sum(float(np.abs(np.diff(values, axis=axis)).mean()) for axis in range(2))


def _between(random: np.random.Generator, ends: tuple[float, float]) -> float:
    return ends[0] + (ends[1] - ends[0]) * float(random.random())


@cache
def _photo(name: str) -> Image.Image:
    path = str(files("sklearn.datasets") / "images" / f"{name}.jpg")
    return decode(open_file(path), 3, path)
