"""Sequences in memory and on disk, whose pixels and boxes are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lwdna.data.sequences import FrameMemory, Sequence

NOISE = np.random.default_rng(7)


class Frames:
    """Frames of one array each."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def path(self, number):
        return Path(f"frame-{id(self)}-{number}")

    def read(self, number):
        return self.images[number].copy()

    def size(self):
        height, width = self.images[0].shape[:2]
        return width, height

    def content(self, number):
        return self.images[number].tobytes()


def in_memory(boxes, visible=None, name="one", size=(64, 48)):
    """Return a sequence whose frame i is grey of level i."""
    boxes = np.asarray(boxes, dtype=np.float64)
    images = [
        np.full((size[1], size[0], 3), number % 256, np.uint8) for number in range(len(boxes))
    ]
    shown = np.isfinite(boxes).all(axis=1) if visible is None else np.asarray(visible)
    return Sequence(name, boxes, shown, Frames(images), FrameMemory())


def on_disk(
    folder: Path, count: int, *, size: tuple[int, int] = (64, 48), speed: float = 1.0
) -> None:
    """Write a bright square of 12 pixels that moves over noise, in the layout of OTB."""
    (folder / "img").mkdir(parents=True)
    lines = []
    for number in range(count):
        image = NOISE.integers(0, 100, (size[1], size[0], 3), dtype=np.uint8)
        x, y = 10 + speed * number, 15
        image[y : y + 12, round(x) : round(x) + 12] = 230
        Image.fromarray(image).save(folder / "img" / f"{number + 1:04d}.png")
        lines.append(f"{round(x)},{y},12,12")
    (folder / "groundtruth_rect.txt").write_text("\n".join(lines) + "\n")
