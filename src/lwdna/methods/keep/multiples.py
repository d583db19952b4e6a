"""Widths rounded to multiples, and repaired to the budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lwdna.errors import BudgetError
from lwdna.methods.grid import Grid, one_changed

if TYPE_CHECKING:
    from torch import Tensor

    from lwdna.methods.limits import FloatArray, IntArray, Limits


def rounded(
    widths: dict[str, int],
    scores: Mapping[str, Tensor],
    least: Mapping[str, int],
    limits: Limits,
    multiple: Mapping[str, int],
    *,
    per_cost: bool = False,
) -> dict[str, int]:
    """Round to multiples, then remove the worst or add the best to meet and fill the budget.

    The baseline's own widths count as multiples, too.

    Args:
        widths: by group.
        scores: one score per widened unit by group; larger is better.
        least: floor by group.
        limits: what the network may cost.
        multiple: of what by group; groups left out take any width.
        per_cost: whether units are worth their score for what they cost, or their score alone.

    Raises:
        BudgetError: no multiples meet the budget.
    """
    names = [group.name for group in limits.graph.groups]
    if all(multiple.get(name, 1) == 1 for name in names):
        return widths
    most = {name: len(scores[name]) for name in names}
    grid = Grid.of(limits.graph, least, most, multiple)
    worth = _Worth(scores, limits, per_cost)
    found = grid.nearest(np.array([widths[name] for name in names], dtype=np.int64))
    while over := worth.exceeded(found):
        fewer = grid.narrower(found)
        if np.array_equal(fewer, found):
            raise BudgetError(
                f"no widths that are multiples of {max(multiple.values())} meet the budget of "
                f"{limits}; raise the budget or lower multiple or the floors"
            )
        lost = np.where(fewer < found, worth.between(fewer, found, found, over), np.inf)
        goes = int(np.argmin(lost))
        found[goes] = fewer[goes]
    while True:
        more = grid.wider(found)
        may = (more > found) & limits.fits(one_changed(found, more))
        if not may.any():
            return dict(zip(names, found.tolist(), strict=True))
        won = worth.between(found, more, found, list(limits.allowed))
        comes = int(np.argmax(np.where(may, won, -np.inf)))
        found[comes] = more[comes]


class _Worth:
    """What units are worth."""

    def __init__(self, scores: Mapping[str, Tensor], limits: Limits, per_cost: bool) -> None:
        self._limits, self._per_cost = limits, per_cost
        ranked = [
            np.sort(scores[group.name].double().numpy())[::-1] for group in limits.graph.groups
        ]
        lowest = min(0.0, *(float(group[-1]) for group in ranked)) if per_cost else 0.0
        self._sums = [np.concatenate([[0.0], np.cumsum(group - lowest)]) for group in ranked]

    def exceeded(self, widths: IntArray) -> list[str]:
        """Return the names of the limits that a network, (groups,), exceeds."""
        usage = self._limits.usage(widths[None])
        allowed = self._limits.allowed
        return [name for name in allowed if usage[name][0] > allowed[name]]

    def between(self, low: IntArray, high: IntArray, now: IntArray, of: list[str]) -> FloatArray:
        """Return what the units between two widths of every group are worth, (groups,).

        Args:
            low: the smaller width, (groups,).
            high: the larger one.
            now: the network of which one or the other is a part.
            of: the resources whose use counts as cost.
        """
        ends = zip(self._sums, low, high, strict=True)
        scores = np.array([sums[two] - sums[one] for sums, one, two in ends])
        if not self._per_cost:
            return np.asarray(scores / np.maximum(high - low, 1))
        wide, narrow = (self._limits.usage(one_changed(now, widths)) for widths in (high, low))
        cost = np.sum([(wide[n] - narrow[n]) / self._limits.allowed[n] for n in of], axis=0)
        return np.asarray(scores / np.maximum(cost, 1e-12))
