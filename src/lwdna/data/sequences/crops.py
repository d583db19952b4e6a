"""Square crops of frames, sampled exactly, and boxes in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from lwdna.data.image_files import Pixels

Border = Literal["replicate", "inside", "inside_major"]
"""What a window does at the border of the image.

``replicate``: it stays where it is; pixels of the border are repeated beyond it. ``inside``: it is
made no larger than the shorter side of the image and moved into it. ``inside_major``: no larger
than the longer side, moved as far as it fits; along the shorter side it may stick out on both ends
alike. The latter two lie on whole pixels (Danelljan et al. 2020, SuperDiMP)."""


@dataclass(frozen=True)
class Window:
    """A square part of an image, which may reach beyond it, and the size of the crop made of it."""

    x: float
    """Centre in pixels of the image."""
    y: float
    side: float
    """In pixels of the image."""
    size: int
    """Side of the crop in its own pixels."""

    def __post_init__(self) -> None:
        finite = math.isfinite(self.x) and math.isfinite(self.y) and math.isfinite(self.side)
        if not (finite and self.side > 0 and self.size > 0):
            raise ValueError(f"no window: {self}; give a finite place and positive sizes")

    @property
    def scale(self) -> float:
        """Pixels of the crop per pixel of the image."""
        return self.size / self.side

    @property
    def left(self) -> float:
        """Left end in pixels of the image."""
        return self.x - self.side / 2

    @property
    def top(self) -> float:
        """Upper end in pixels of the image."""
        return self.y - self.side / 2

    def into(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Return boxes x, y, w, h of the image, shape (..., 4), in pixels of the crop."""
        boxes = np.asarray(boxes, dtype=np.float64)
        return (boxes - (self.left, self.top, 0, 0)) * self.scale

    def out_of(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Return boxes x, y, w, h of the crop, shape (..., 4), in pixels of the image."""
        boxes = np.asarray(boxes, dtype=np.float64)
        return boxes / self.scale + (self.left, self.top, 0, 0)


def window_about(
    box: ArrayLike,
    area: float,
    size: int,
    *,
    border: Border = "replicate",
    image_size: tuple[int, int] | None = None,
) -> Window:
    """Return the window about the centre of a box with side ceil(area sqrt(w h)).

    Args:
        box: x, y, w, h in pixels of the image.
        area: side of the window in units of the box's mean side.
        size: side of the crop in its own pixels.
        border: what happens at the border of the image.
        image_size: width and height of the image; only ``replicate`` does without.

    Raises:
        ValueError: the box has no area or is not finite.
    """
    x, y, width, height = (float(value) for value in np.asarray(box, dtype=np.float64))
    if not (math.isfinite(x + y + width + height) and width > 0 and height > 0):
        raise ValueError(f"no window about the box {x}, {y}, {width}, {height}; it has no area")
    side = math.ceil(area * math.sqrt(width * height))
    x, y = x + width / 2, y + height / 2
    if border == "replicate":
        return Window(x, y, side, size)
    if image_size is None:
        raise ValueError(f"border={border!r} needs the size of the image")
    side = min(side, min(image_size) if border == "inside" else max(image_size))
    x, y = (
        _moved(centre - side / 2, side, length) + side / 2
        for centre, length in zip((x, y), image_size, strict=True)
    )
    return Window(x, y, side, size)


def _moved(start: float, side: int, length: int) -> int:
    """Return where an interval of pixels starts once it lies as far inside the image as it fits."""
    if side > length:  # as much beyond either end; an odd pixel beyond the second
        return -((side - length) // 2)
    return min(max(round(start), 0), length - side)


def cut(image: Pixels, window: Window) -> Pixels:
    """Return the crop of a window, shape (size, size, 3).

    Its values are those of the bilinear interpolation of the image at the centres of the crop's
    pixels, averaged by a triangle as wide as two of them where the crop is smaller than the window.
    Beyond the image, the pixels at its border are repeated.

    Args:
        image: shape (H, W, 3), uint8.
        window: the part of it.
    """
    step = window.side / window.size
    rows = _Span.of(window.top, step, window.size, image.shape[0])
    columns = _Span.of(window.left, step, window.size, image.shape[1])
    piece = image[rows.inside, columns.inside]
    if rows.sticks_out or columns.sticks_out:
        piece = np.pad(piece, (rows.beyond, columns.beyond, (0, 0)), mode="edge")
    resized = Image.fromarray(np.ascontiguousarray(piece)).resize(
        (columns.count, rows.count),
        Image.Resampling.BILINEAR,
        box=(columns.start, rows.start, columns.end, rows.end),
    )
    crop: Pixels = np.array(resized)
    if rows.is_part or columns.is_part:
        crop = np.pad(crop, (rows.repeated, columns.repeated, (0, 0)), mode="edge")
    return crop


@dataclass(frozen=True)
class _Span:
    """Along one axis, the pixels of a crop that must be computed and those of the image that they
    are computed from.

    Where a window reaches far beyond the image, most pixels of the crop are those of the border:
    the last one that is computed is repeated.
    """

    inside: slice
    """Pixels of the image."""
    beyond: tuple[int, int]
    """How many more are needed beyond its ends."""
    start: float
    """Where the first computed pixel of the crop starts, counted from the first needed pixel."""
    end: float
    repeated: tuple[int, int]
    """How many pixels of the crop are copies of the first and of the last computed one."""
    count: int
    """Computed pixels of the crop."""

    @property
    def sticks_out(self) -> bool:
        return any(self.beyond)

    @property
    def is_part(self) -> bool:
        return any(self.repeated)

    @classmethod
    def of(cls, start: float, step: float, size: int, length: int) -> _Span:
        reach = max(step, 1.0)  # of the triangle to either side
        before = math.floor((-reach - start) / step - 0.5)  # last one that sees only the border
        behind = math.ceil((length + reach - start) / step - 0.5)
        first = min(max(before, 0), size - 1)
        last = min(max(behind, first), size - 1)
        left, right = start + first * step, start + (last + 1) * step
        lowest, highest = math.floor(left - reach), math.ceil(right + reach)
        needed = highest - lowest
        below = min(max(-lowest, 0), needed - 1)
        above = min(max(highest - length, 0), needed - 1)
        low = min(max(lowest, 0), length - 1)
        return cls(
            inside=slice(low, low + needed - below - above),
            beyond=(below, above),
            start=left - lowest,
            end=right - lowest,
            repeated=(first, size - 1 - last),
            count=last + 1 - first,
        )
