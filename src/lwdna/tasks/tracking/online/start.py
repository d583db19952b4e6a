"""The samples of the first frame: crops of the target, shifted, mirrored, blurred and rotated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lwdna.data.sequences.crops import Window, cut
from lwdna.tasks.tracking.online.settings import StartSettings
from lwdna.tasks.tracking.online.tracker import Box

Pixels = NDArray[np.uint8]


def starting_samples(
    image: Pixels, box: Box, window: Window, settings: StartSettings, random: np.random.Generator
) -> tuple[Pixels, NDArray[np.float64]]:
    """Return crops of the first frame (n, size, size, 3), and the target's box in each (n, 4).

    The first is the window itself. Crops are sampled from the frame, not from one another. A
    rotated target keeps the size of its box.

    Args:
        image: the frame.
        box: x, y, w, h in pixels of the frame.
        window: about the target, its border replicated.
        settings: which samples.
        random: gives two numbers for each sample that moves at random.
    """
    crops, boxes = zip(*_samples(image, box, window, settings, random), strict=True)
    return np.stack(crops), np.stack(boxes)


def _samples(
    image: Pixels, box: Box, window: Window, settings: StartSettings, random: np.random.Generator
) -> Iterator[tuple[Pixels, Box]]:
    """Yield the crops and the box in each."""
    size = window.size

    def moved(across: float, down: float) -> Window:
        """Return the window in which the target lies by so many sides of it to the right."""
        return replace(window, x=window.x - across * window.side, y=window.y - down * window.side)

    def moved_at_random() -> Window:
        across, down = settings.random_shift * (random.random(2) - 0.5)
        return moved(across, down)

    yield cut(image, window), window.into(box)
    if settings.shift:
        for across, down in product((-settings.shift / 2, settings.shift / 2), repeat=2):
            place = moved(across, down)
            yield cut(image, place), place.into(box)
    if settings.flip:
        place = moved_at_random()
        x, y, w, h = place.into(box)
        yield cut(image, place)[:, ::-1], np.array([size - x - w, y, w, h])
    for sigmas in settings.blurs:
        place = moved_at_random()
        yield _blurred(cut(image, place), sigmas), place.into(box)
    for angle in settings.rotations:
        place = moved_at_random()
        inside = place.into(box)
        centre = inside[:2] + inside[2:] / 2
        yield _rotated(image, place, angle, (centre[0], centre[1])), inside


def _blurred(crop: Pixels, sigmas: tuple[float, float]) -> Pixels:
    """Return a crop convolved with a Gaussian (vertical, horizontal), its border replicated."""
    values = crop.astype(np.float32)
    for axis, sigma in enumerate(sigmas):
        reach = math.ceil(2 * sigma)
        taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        around = [(reach, reach) if other == axis else (0, 0) for other in range(3)]
        padded = np.pad(values, around, mode="edge")
        shifted = np.lib.stride_tricks.sliding_window_view(padded, len(taps), axis)
        values = shifted @ (taps / taps.sum()).astype(np.float32)
    return values.round().astype(np.uint8)


def _rotated(image: Pixels, window: Window, angle: float, centre: tuple[float, float]) -> Pixels:
    """Return the crop of a window, turned about a place in it by an angle in degrees.

    It is sampled from a larger crop of the same scale, whose corners it does not reach.
    """
    size = window.size
    farthest = max(
        math.hypot(x, y)
        for x, y in product((centre[0], size - centre[0]), (centre[1], size - centre[1]))
    )
    half = math.ceil(farthest) + 1
    about = Window(
        window.left + centre[0] / window.scale,
        window.top + centre[1] / window.scale,
        2 * half / window.scale,
        2 * half,
    )
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = centre
    turned = Image.fromarray(cut(image, about)).transform(
        (size, size),
        Image.Transform.AFFINE,
        (
            cosine,
            -sine,
            half - cosine * x + sine * y,
            sine,
            cosine,
            half - sine * x - cosine * y,
        ),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(turned)
