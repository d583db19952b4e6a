"""Which units stay: floors, one threshold for all groups, and the budget that sets it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lwdna.channels import ChannelGraph, Cost
from lwdna.errors import BudgetError
from lwdna.methods.settings import Budget

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Kept:
    """Widths that meet a budget, and the lowest score that kept a unit above its floor."""

    widths: dict[str, int]
    threshold: float


def limits(graph: ChannelGraph, widened: Mapping[str, int], budget: Budget) -> dict[str, int]:
    """Return the largest allowed MACs and/or parameters."""
    reference = graph.cost(None if budget.of == "baseline" else widened)
    allowed = {}
    if budget.macs is not None:
        allowed["macs"] = math.floor(budget.macs * reference.macs)
    if budget.params is not None:
        allowed["params"] = math.floor(budget.params * reference.params)
    return allowed


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


def keep_by_threshold(
    graph: ChannelGraph,
    scores: Mapping[str, Tensor],
    least: Mapping[str, int],
    allowed: Mapping[str, int],
    multiple: int = 1,
) -> Kept:
    """Keep the best units of all groups under one threshold, each group at least its floor.

    The widths found are within one unit of the budget and never above it: with the next unit in
    the order of scores the network would cost more than ``allowed``.

    Args:
        graph: channel graph of the baseline.
        scores: one score per widened unit by group; larger is better.
        least: floor by group.
        allowed: largest MACs and/or parameters.
        multiple: round widths to a multiple, as far as the widened width allows.

    Raises:
        BudgetError: the floors alone cost more than the budget, or the widened network less.
    """
    names = [group.name for group in graph.groups]
    full = {name: len(scores[name]) for name in names}
    _check_reachable(graph, full, least, allowed)
    base = np.array([least[name] for name in names], dtype=np.int64)
    values, owners = _candidates(names, scores, least)

    def widths_at(count: int) -> IntArray:
        return base + np.bincount(owners[:count], minlength=len(names))

    low, high = 0, len(owners)  # affordable, not affordable
    while high - low > 1:
        middle = (low + high) // 2
        if _affordable(graph, widths_at(middle), allowed):
            low = middle
        else:
            high = middle
    threshold = float(values[max(low - 1, 0)])
    widths = dict(zip(names, (int(w) for w in widths_at(low)), strict=True))
    if multiple > 1:
        widths = _rounded(graph, widths, scores, least, allowed, multiple)
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


def _affordable(graph: ChannelGraph, widths: IntArray, allowed: Mapping[str, int]) -> bool:
    macs, params = graph.costs(widths[None, :])
    return bool(
        macs[0] <= allowed.get("macs", macs[0]) and params[0] <= allowed.get("params", params[0])
    )


def _check_reachable(
    graph: ChannelGraph,
    full: Mapping[str, int],
    least: Mapping[str, int],
    allowed: Mapping[str, int],
) -> None:
    most, fewest = graph.cost(full), graph.cost(least)
    if all(getattr(most, what) <= limit for what, limit in allowed.items()):
        raise BudgetError(
            f"the budget of {_amounts(allowed)} is not below the widened network's "
            f"{_cost(most)}: nothing would be removed; lower the budget or raise width_mult"
        )
    if any(getattr(fewest, what) > limit for what, limit in allowed.items()):
        raise BudgetError(
            f"the budget of {_amounts(allowed)} is below what the floors alone cost, "
            f"{_cost(fewest)}; raise the budget or lower floor and linear_floor"
        )


def _rounded(
    graph: ChannelGraph,
    widths: dict[str, int],
    scores: Mapping[str, Tensor],
    least: Mapping[str, int],
    allowed: Mapping[str, int],
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
        return _affordable(graph, np.array([result[name] for name in names]), allowed)

    def step_score(name: str, start: int) -> float:
        return float(ranked[name][start : start + multiple].mean())

    while not fits():
        removable = [name for name in names if result[name] - multiple >= lowest[name]]
        if not removable:
            raise BudgetError(
                f"no widths that are multiples of {multiple} meet the budget of "
                f"{_amounts(allowed)}; raise the budget or lower multiple or the floors"
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


def _amounts(allowed: Mapping[str, int]) -> str:
    return " and ".join(f"{limit:,} {what}" for what, limit in allowed.items())


def _cost(cost: Cost) -> str:
    return f"{cost.macs:,} macs and {cost.params:,} params"
