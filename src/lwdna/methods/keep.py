"""Which units stay: floors, one threshold for all groups, and the budget that sets it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lwdna.channels import ChannelGraph
from lwdna.errors import BudgetError
from lwdna.methods.budget import Limits

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Kept:
    """Widths that meet a budget."""

    widths: dict[str, int]
    threshold: float | None
    """The lowest score that kept a unit above its floor, where the score alone decided."""


def floors(
    graph: ChannelGraph, widened: Mapping[str, int], floor: float, linear_floor: float
) -> dict[str, int]:
    """Return the least width of every group: a fraction of the widened units, at least one."""
    return {
        group.name: max(
            1, math.ceil((linear_floor if group.feeds_output else floor) * widened[group.name])
        )
        for group in graph.groups
    }


def diminishing(worth: float, units: int, bend: float = 0.0) -> Tensor:
    """Return scores of units, (units,), of which every further one adds less to its group.

    A group of n of them is worth ``worth`` log n or, with a ``bend``, -``worth`` n ** -bend / bend.
    The k-th unit adds its slope half a unit before, ``worth`` / (k - 1/2) ** (1 + bend).
    """
    return worth / (torch.arange(units, dtype=torch.float64) + 0.5) ** (1 + bend)


def keep_by_threshold(
    graph: ChannelGraph,
    scores: Mapping[str, Tensor],
    least: Mapping[str, int],
    limits: Limits,
    multiple: int = 1,
) -> Kept:
    """Keep the best units of all groups under one threshold, each group at least its floor.

    The widths found are within one unit of the budget and never above it: with the next unit in
    the order of scores the network would exceed ``limits``.

    Args:
        graph: channel graph of the baseline.
        scores: one score per widened unit by group; larger is better.
        least: floor by group.
        limits: what the network may cost.
        multiple: round widths to a multiple, as far as the widened width allows.

    Raises:
        BudgetError: the floors alone cost more than the budget, or the widened network less.
    """
    names = [group.name for group in graph.groups]
    full = {name: len(scores[name]) for name in names}
    limits.check_reachable(full, least)
    base = np.array([least[name] for name in names], dtype=np.int64)
    values, owners = _candidates(names, scores, least)

    def widths_at(count: int) -> IntArray:
        return base + np.bincount(owners[:count], minlength=len(names))

    low, high = 0, len(owners)  # affordable, not affordable
    while high - low > 1:
        middle = (low + high) // 2
        if limits.fits(widths_at(middle)[None])[0]:
            low = middle
        else:
            high = middle
    threshold = float(values[max(low - 1, 0)])
    widths = dict(zip(names, (int(w) for w in widths_at(low)), strict=True))
    if multiple > 1:
        widths = rounded(widths, scores, least, limits, multiple)
    return Kept(widths, threshold)


def best_units(scores: Mapping[str, Tensor], widths: Mapping[str, int]) -> dict[str, Tensor]:
    """Return the indices, ascending, of each group's best units; of equal ones, the first."""
    return {
        name: scores[name].argsort(descending=True, stable=True)[:width].sort().values
        for name, width in widths.items()
    }


def _candidates(
    names: list[str], scores: Mapping[str, Tensor], least: Mapping[str, int]
) -> tuple[FloatArray, IntArray]:
    """Return the scores above the floors, best first, and the group each belongs to."""
    above = [np.sort(scores[name].double().numpy())[::-1][least[name] :] for name in names]
    values = np.concatenate(above)
    owners = np.repeat(np.arange(len(names)), [len(part) for part in above])
    order = np.argsort(-values, kind="stable")
    return values[order], owners[order]


def rounded(
    widths: dict[str, int],
    scores: Mapping[str, Tensor],
    least: Mapping[str, int],
    limits: Limits,
    multiple: int,
) -> dict[str, int]:
    """Round to multiples, then remove the worst or add the best multiples to meet the budget."""
    names = list(widths)
    ranked = {name: scores[name].double().sort(descending=True).values for name in names}
    lowest = {name: _round_up(least[name], multiple, len(scores[name])) for name in names}
    result = {
        name: min(max(round(width / multiple) * multiple, lowest[name]), len(scores[name]))
        for name, width in widths.items()
    }

    def fits() -> bool:
        return bool(limits.fits([[result[name] for name in names]])[0])

    def step_score(name: str, start: int) -> float:
        return float(ranked[name][start : start + multiple].mean())

    while not fits():
        removable = [name for name in names if result[name] - multiple >= lowest[name]]
        if not removable:
            raise BudgetError(
                f"no widths that are multiples of {multiple} meet the budget of "
                f"{limits}; raise the budget or lower multiple or the floors"
            )
        worst = min(removable, key=lambda name: step_score(name, result[name] - multiple))
        result[worst] -= multiple
    growable = [name for name in names if result[name] + multiple <= len(scores[name])]
    while growable:
        best = max(growable, key=lambda name: step_score(name, result[name]))
        result[best] += multiple
        if not fits():
            result[best] -= multiple
            growable.remove(best)
        elif result[best] + multiple > len(scores[best]):
            growable.remove(best)
    return result


def _round_up(width: int, multiple: int, most: int) -> int:
    return min(-(-width // multiple) * multiple, most)
