"""Which units stay when each brings its score and costs what it takes at the current widths.

Filling a budget with the units of most importance per cost is the greedy solution of a knapsack
(Dantzig, "Discrete-Variable Extremum Problems", Operations Research 1957). Here costs depend on
the other widths, so that units are removed step by step and costs taken anew; greedy slimming by
cost is how AutoSlim (arXiv 1903.11728) and NetAdapt (arXiv 1804.03230) go through a network.

Of two limits one is usually met before the other, which then allows more: parameters are left over
where MACs run out first. The full knapsack repeats the search with more weight on units that take
much of what is left over, until both limits are used up; docs/evidence/ablations.md tells where
that helps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lwdna.errors import RecipeError
from lwdna.methods.budget import Budget
from lwdna.methods.grid import ANY_WIDTH
from lwdna.methods.keep.multiples import rounded
from lwdna.methods.keep.table import Kept, register_keep_rule

if TYPE_CHECKING:
    from torch import Tensor

    from lwdna.channels import ChannelGraph
    from lwdna.methods.limits import FloatArray, IntArray, Limits

STEP = 1 / 32
"""Part of what is still over the budget that may go before costs are taken anew."""
CAPACITY = ("macs", "params")
"""Resources that a network is better for using; less memory and latency are welcome."""
USED_UP = 0.99
"""Part of a limit that need not be raised any further."""
STEEPEST, HALVINGS = 2.0, 8
"""Largest exponent of what is left over, and how often the interval of exponents is halved."""


@register_keep_rule("knapsack")
def keep_by_knapsack(
    graph: ChannelGraph,
    scores: Mapping[str, Tensor],
    least: Mapping[str, int],
    limits: Limits,
    multiple: Mapping[str, int] = ANY_WIDTH,
) -> Kept:
    """The best scores for what the units cost stay.

    The units that bring the least for what they cost go until the budget is met. A unit brings its
    score (relative to the lowest of all where that is negative) and costs what the network saves
    without it at the current widths: of the resources that are still above their limits, as
    fractions of these. When all limits are met, units that still fit come back, those of most
    importance per cost first: then no unit more fits into the budget.

    Args:
        graph: channel graph of the baseline.
        scores: one score per widened unit by group; larger is better.
        least: floor by group.
        limits: what the network may cost.
        multiple: of what widths are multiples, by group; groups left out take any width.

    Raises:
        BudgetError: the floors alone cost more than the budget, or the widened network less.
    """
    sack = _packed(graph, scores, least, limits)
    return _kept(sack.solve(), graph, scores, least, limits, multiple)


def _both_limited(budget: Budget) -> None:
    limited = [name for name in CAPACITY if name in budget.fractions()]
    if limited != list(CAPACITY):
        raise RecipeError(
            "keep: knapsack-full uses up MACs and parameters, but the budget limits "
            f"{f'only {limited[0]}' if limited else 'neither'}; set both, shrink.budget.macs and "
            "shrink.budget.params, or shrink.keep=knapsack"
        )


@register_keep_rule("knapsack-full", requires=_both_limited)
def keep_by_full_knapsack(
    graph: ChannelGraph,
    scores: Mapping[str, Tensor],
    least: Mapping[str, int],
    limits: Limits,
    multiple: Mapping[str, int] = ANY_WIDTH,
) -> Kept:
    """As knapsack, tilted so that neither MACs nor parameters are left over.

    Where both are limited and one is left over, a unit's importance is multiplied by its share of
    that resource, to the smallest power that uses it up. Arguments and errors are those of
    :func:`keep_by_knapsack`.
    """
    found = _use_up(_packed(graph, scores, least, limits))
    return _kept(found, graph, scores, least, limits, multiple)


def _packed(
    graph: ChannelGraph, scores: Mapping[str, Tensor], least: Mapping[str, int], limits: Limits
) -> _Knapsack:
    names = [group.name for group in graph.groups]
    limits.check_reachable({name: len(scores[name]) for name in names}, least)
    return _Knapsack(
        limits,
        [np.sort(scores[name].double().numpy())[::-1] for name in names],
        np.array([least[name] for name in names], dtype=np.int64),
    )


def _kept(
    found: IntArray,
    graph: ChannelGraph,
    scores: Mapping[str, Tensor],
    least: Mapping[str, int],
    limits: Limits,
    multiple: Mapping[str, int],
) -> Kept:
    names = [group.name for group in graph.groups]
    widths = dict(zip(names, (int(width) for width in found), strict=True))
    return Kept(rounded(widths, scores, least, limits, multiple, per_cost=True), None)


def _use_up(sack: _Knapsack) -> IntArray:
    """Return the widths that leave least of any resource over."""
    best = sack.solve()
    shares = sack.shares(best)
    slack = min(shares, key=lambda name: shares[name], default=None)
    if slack is None or len(shares) == 1 or shares[slack] >= USED_UP:
        return best
    least, low, high = shares[slack], 0.0, STEEPEST
    for _ in range(HALVINGS):
        power = (low + high) / 2
        widths = sack.solve(slack, power)
        shares = sack.shares(widths)
        if min(shares.values()) > least:
            best, least = widths, min(shares.values())
        if shares[slack] > min(shares.values()):  # now something else is left over
            high = power
        else:
            low = power
    return best


class _Knapsack:
    """The widths on their way from all units to those that the limits allow."""

    def __init__(self, limits: Limits, scores: list[FloatArray], least: IntArray) -> None:
        lowest = min(0.0, *(float(group[-1]) for group in scores))
        self._importance = [group - lowest for group in scores]
        self._limits = limits
        self._least = least
        self._most = np.array([len(group) for group in scores], dtype=np.int64)
        self.widths = self._most.copy()
        self._slack: str | None = None
        self._power = 0.0

    def solve(self, slack: str | None = None, power: float = 0.0) -> IntArray:
        """Return widths within the limits; a unit's share of ``slack`` to ``power`` counts."""
        self.widths = self._most.copy()
        self._slack, self._power = slack, power
        self.empty()
        self.fill()
        return self.widths

    def shares(self, widths: IntArray) -> dict[str, float]:
        """Return what part of each limit on capacity is used."""
        usage = self._limits.usage(widths[None])
        allowed = self._limits.allowed
        return {name: float(usage[name][0]) / allowed[name] for name in CAPACITY if name in usage}

    def empty(self) -> None:
        """Remove units until all limits are met."""
        excess = self._excess()
        while excess:
            saved = self._limits.differences(self.widths, -1)
            cost = np.sum([saved[name] / self._limits.allowed[name] for name in excess], axis=0)
            owners, ratios = self._candidates(cost, self._favour(saved))
            order = np.lexsort((-cost[owners], ratios))[: int(np.isfinite(ratios).sum())]
            owners = owners[order]
            going = np.ones(len(owners), dtype=np.bool_)
            for name, over in excess.items():
                going &= np.cumsum(saved[name][owners]) <= STEP * over
            if len(owners):
                count = max(1, int(going.sum()))
                self.widths -= np.bincount(owners[:count], minlength=len(self.widths))
            else:  # no unit alone saves anything: several places tie for a peak
                self.widths -= self.widths > self._least
            excess = self._excess()

    def fill(self) -> None:
        """Take units back as long as one fits."""
        identity = np.eye(len(self.widths), dtype=np.int64)
        while True:
            wider = self.widths + identity
            fitting = (self.widths < self._most) & self._limits.fits(wider)
            if not fitting.any():
                return
            added = self._limits.differences(self.widths, 1)
            cost = sum(added[name] / limit for name, limit in self._limits.allowed.items())
            following = np.array(
                [
                    group[min(width, len(group) - 1)]
                    for group, width in zip(self._importance, self.widths, strict=True)
                ]
            )
            following *= self._favour(added)
            ratios = np.where(fitting, _ratio(following, np.asarray(cost)), -np.inf)
            self.widths[int(ratios.argmax())] += 1

    def _favour(self, amounts: Mapping[str, FloatArray]) -> FloatArray:
        """Return by what factor units of each group are more important, (groups,)."""
        if self._slack is None:
            return np.ones(len(self.widths))
        favour: FloatArray = (
            amounts[self._slack] / self._limits.allowed[self._slack]
        ) ** self._power
        return favour

    def _excess(self) -> dict[str, float]:
        """Return by how much each limit is exceeded that is."""
        usage = self._limits.usage(self.widths[None])
        over = {name: float(usage[name][0] - limit) for name, limit in self._limits.allowed.items()}
        return {name: amount for name, amount in over.items() if amount > 0}

    def _candidates(self, cost: FloatArray, favour: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the units that may go: the group of each, and its importance per cost."""
        parts = [
            units[low:width]
            for units, low, width in zip(self._importance, self._least, self.widths, strict=True)
        ]
        owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        return owners, _ratio(np.concatenate(parts) * favour[owners], cost[owners])


def _ratio(importance: FloatArray, cost: FloatArray) -> FloatArray:
    """Return importance per cost; what costs nothing is preferred to all that costs something."""
    result: FloatArray = np.where(cost > 0, importance / np.where(cost > 0, cost, 1), np.inf)
    return result
