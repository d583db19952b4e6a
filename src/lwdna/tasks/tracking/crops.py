"""Crops that training sees: somewhat beside the target, brighter or darker, now and then grey."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lwdna.data.sequences import Window, cut, window_about
from lwdna.tasks.tracking.settings import Border, Jitter

_LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601."""


def jittered(box: ArrayLike, jitter: Jitter, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return a box beside a target's that is larger or smaller, x, y, w, h.

    Args:
        box: of the target, x, y, w, h.
        jitter: by how much centre and size differ.
        generator: draws.
    """
    x, y, w, h = np.asarray(box, dtype=np.float64)
    size = np.array([w, h]) * np.exp(generator.normal(0.0, jitter.size, 2))
    reach = jitter.centre * np.sqrt(size.prod())
    centre = np.array([x + w / 2, y + h / 2]) + reach * generator.uniform(-0.5, 0.5, 2)
    return np.concatenate([centre - size / 2, size])


def crop_about(
    image: NDArray[np.uint8], box: ArrayLike, area: float, size: int, border: Border
) -> tuple[NDArray[np.uint8], Window]:
    """Return a square crop about a box, (size, size, 3), and where it lies in the image.

    Args:
        image: (H, W, 3).
        box: x, y, w, h in pixels.
        area: side of the crop, in units of sqrt(w h).
        size: side of the crop in its own pixels.
        border: what happens beyond the image.
    """
    height, width = image.shape[:2]
    window = window_about(box, area, size, border=border, image_size=(width, height))
    return cut(image, window), window


def coloured(
    crops: NDArray[np.uint8],
    greyscale: float,
    brightness: float,
    generator: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return the crops of an example, all grey or none, each brighter or darker by itself.

    Args:
        crops: (n, S, S, 3).
        greyscale: probability that they are grey.
        brightness: each is multiplied by a number from 1 minus to 1 plus this.
        generator: draws the same numbers whatever the settings.
    """
    grey = generator.uniform() < greyscale
    factors = 1 + brightness * generator.uniform(-1, 1, len(crops))
    values = crops.astype(np.float32)
    if grey:
        values = np.broadcast_to((values @ _LUMA.astype(np.float32))[..., None], values.shape)
    values = values * factors[:, None, None, None].astype(np.float32)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
