"""Where in a map of scores the target is, and whether something like it is in sight, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwdna.tasks.tracking.online.settings import LocalisationSettings
from lwdna.tasks.tracking.online.tracker import State

Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Place:
    """A cell of a map of scores."""

    x: int
    y: int
    score: float
    state: State


def localise(
    scores: Scores,
    previous: tuple[float, float],
    size: tuple[float, float],
    settings: LocalisationSettings,
) -> Place:
    """Return the cell of the target, by the rules of DiMP's tracker.

    Where two peaks are about equally high, the target is the one that lies near enough to its last
    place, if the other does not. If both do or neither, the higher one is taken and ``uncertain``.

    Args:
        scores: (H, W), finite.
        previous: x and y of the target's centre in the frame before, in cells; the centre of the
            first cell is 0.
        size: width and height of the target, in cells.
        settings: the thresholds.
    """
    first = _peak(scores)
    x, y, score = first
    if score < settings.not_found:
        return Place(*first, "not_found")
    second = _peak(_outside(scores, x, y, size, settings.neighbourhood))
    if second[2] > settings.distractor * score:
        limit = settings.displacement * np.sqrt(scores.size) / 2
        far = [
            np.hypot(px - previous[0], py - previous[1]) > limit for px, py, _ in (first, second)
        ]
        if far[0] == far[1]:
            return Place(*first, "uncertain")
        return Place(*(second if far[0] else first), "hard_negative")
    if second[2] > settings.hard_negative * score and second[2] > settings.not_found:
        return Place(*first, "hard_negative")
    return Place(*first, "normal")


def between_cells(scores: Scores, x: int, y: int) -> tuple[float, float]:
    """Return column and row of a peak, with fractions: the tops of two parabolas.

    They go through the peak and its neighbours, along each axis. At the border of the map, or
    where a neighbour is higher, the peak is taken as it is.
    """
    height, width = scores.shape
    across = _top(*scores[y, x - 1 : x + 2]) if 0 < x < width - 1 else 0.0
    down = _top(*scores[y - 1 : y + 2, x]) if 0 < y < height - 1 else 0.0
    return x + across, y + down


def _top(before: float, peak: float, behind: float) -> float:
    """Return where a parabola through the values at -1, 0 and 1 is highest."""
    if peak < max(before, behind) or peak == before == behind:
        return 0.0
    return 0.5 * float(before - behind) / float(before - 2 * peak + behind)


def _peak(scores: Scores) -> tuple[int, int, float]:
    """Return column, row and height of the highest cell."""
    row, column = divmod(int(scores.argmax()), scores.shape[1])
    return column, row, float(scores[row, column])


def _outside(
    scores: Scores, x: int, y: int, size: tuple[float, float], neighbourhood: float
) -> Scores:
    """Return the scores without those in a box around a cell."""
    left, right = _span(x, neighbourhood * size[0])
    top, bottom = _span(y, neighbourhood * size[1])
    others = scores.copy()
    others[top:bottom, left:right] = -np.inf
    return others


def _span(centre: int, length: float) -> tuple[int, int]:
    """Return the first and one past the last cell of a length around a cell, itself included."""
    return max(round(centre - length / 2), 0), round(centre + length / 2 + 1)
