"""Boxes near the target, on which a network learns what a good box is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lwdna.tasks.tracking.metrics import overlaps

Box = NDArray[np.float64]
"""Shape (4,)."""
Boxes = NDArray[np.float64]
"""Shape (n, 4)."""
Values = NDArray[np.float64]
"""Shape (n,)."""

SIGMAS = (0.01, 0.05, 0.1, 0.2, 0.3)
"""Standard deviations of centre and size, in units of sqrt(w h); every box draws one."""
LEAST_OVERLAP = 0.1
_SHRINK = 0.9
"""What the deviation is multiplied by after a box that overlaps less."""
_TRIES = 100
_LEAST_SIDE = 1.0

WANTED_SIGMAS = (0.05, 0.05)
"""Of the density wanted: of the centre in units of the size, and of the size's logarithm."""
SAMPLED_SIGMAS = ((0.05, 0.05), (0.5, 0.5))
"""Of the two equal parts of the density that boxes are drawn from."""


def boxes_by_overlap(
    target: Box, count: int, generator: np.random.Generator
) -> tuple[Boxes, Values]:
    """Draw boxes that overlap with the target by more than :data:`LEAST_OVERLAP`.

    Centre and size are normally distributed about the target's. A box that overlaps too little is
    drawn again from a narrower distribution.

    Args:
        target: x, y, w, h in pixels.
        count: how many.
        generator: draws.

    Returns:
        x, y, w, h, shape (count, 4), and the overlap of each with the target, (count,).
    """
    boxes = np.stack([_overlapping(target, generator) for _ in range(count)])
    return boxes, overlaps(boxes, np.broadcast_to(target, boxes.shape))


def _overlapping(target: Box, generator: np.random.Generator) -> Box:
    centre, size = target[:2] + target[2:] / 2, target[2:]
    sigma = float(generator.choice(SIGMAS) * np.sqrt(size.prod()))
    for _ in range(_TRIES):
        middle = generator.normal(centre, sigma)
        sides = generator.normal(size, sigma)
        # a side that came out as nothing is a small part of the target's
        sides = np.where(sides <= _LEAST_SIDE, size * generator.uniform(0.15, 0.5, 2), sides)
        box = np.concatenate([middle - sides / 2, sides])
        if overlaps(box[None], target[None])[0] > LEAST_OVERLAP:
            return box
        sigma *= _SHRINK
    return target.copy()


def boxes_by_density(
    target: Box, count: int, generator: np.random.Generator
) -> tuple[Boxes, Values, Values]:
    """Draw boxes from a mixture of two Gaussians about the target.

    Their coordinates are the centre in units of the target's size and the logarithm of the size.

    Args:
        target: x, y, w, h in pixels.
        count: how many.
        generator: draws.

    Returns:
        x, y, w, h, shape (count, 4), and the logarithms of the density that they were drawn from
        and of the one that is wanted, each (count,).
    """
    parts = np.array(SAMPLED_SIGMAS)
    chosen = parts[generator.integers(len(parts), size=count)]
    offsets = generator.normal(size=(count, 4)) * np.repeat(chosen, 2, axis=1)
    sides = target[2:] * np.exp(offsets[:, 2:])
    centres = target[:2] + target[2:] / 2 + offsets[:, :2] * target[2:]
    boxes = np.concatenate([centres - sides / 2, sides], axis=1)
    each = np.stack([_log_density(offsets, part) for part in parts])
    sampled = np.logaddexp.reduce(each, axis=0) - np.log(len(parts))
    return boxes, sampled, _log_density(offsets, np.array(WANTED_SIGMAS))


def _log_density(offsets: Boxes, sigmas: Values) -> Values:
    """Return the logarithm of a normal density of four independent coordinates."""
    wide = np.repeat(sigmas, 2)
    logs = -0.5 * (offsets / wide) ** 2 - np.log(wide * np.sqrt(2 * np.pi))
    total: Values = logs.sum(axis=-1)
    return total
