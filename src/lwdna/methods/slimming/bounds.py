"""Between which widths a round may choose, and which groups are in the way of a budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from lwdna.channels import ChannelGraph
from lwdna.errors import BudgetError, RecipeError, nearest
from lwdna.methods.limits import Limits, amounts
from lwdna.methods.slimming.settings import SlimSettings

_NAMED = 3
"""Groups that an error names."""


@dataclass(frozen=True)
class Bounds:
    """The widths that a round may give every group."""

    least: dict[str, int]
    most: dict[str, int]
    why: dict[str, str]
    """What sets the least width of each group, in the words of the settings."""

    @classmethod
    def of(cls, graph: ChannelGraph, widths: Mapping[str, int], settings: SlimSettings) -> Bounds:
        """Return the bounds that settings set.

        Args:
            graph: channel graph of the dense network, to whose widths floors and ratios refer.
            widths: those that the network has now, by group.
            settings: floor, ratios, protected groups.

        Raises:
            RecipeError: a pattern matches no group.
        """
        _check_patterns(settings.protect, "protect", graph)
        _check_patterns(settings.ratios, "ratios", graph)
        least, most, why = {}, {}, {}
        for name, dense in graph.widths.items():
            now = widths[name]
            low, high = max(1, math.ceil(settings.floor * dense)), now
            reason = f"floor {settings.floor:g}"
            ratios = [ratio for one, ratio in settings.ratios.items() if fnmatchcase(name, one)]
            if ratios:
                low = high = max(1, round(ratios[-1] * dense))
                reason = f"ratio {ratios[-1]:.3g}"
            if any(fnmatchcase(name, pattern) for pattern in settings.protect):
                low = high = dense
                reason = "protected"
            # earlier rounds may have had other settings; what is gone does not come back
            least[name], most[name], why[name] = min(low, now), min(high, now), reason
        return cls(least, most, why)

    def leave_nothing_to_choose(self, limits: Limits, widths: Mapping[str, int]) -> bool:
        """Whether the widest network within the bounds meets the limits.

        Args:
            limits: what the network may cost.
            widths: those that it has now.

        Raises:
            BudgetError: nothing would be removed, or the narrowest network exceeds the limits; the
                groups that hold most of its cost are named.
        """
        largest, smallest = limits.usage_of(self.most), limits.usage_of(self.least)
        over = [name for name, amount in smallest.items() if amount > limits.allowed[name]]
        if over:
            raise BudgetError(
                f"the budget of {limits} is below what has to stay, "
                f"{amounts(smallest)}: {self._holders(limits, over)}; raise the budget, or "
                "lower slim.floor, slim.ratios or slim.protect for these groups"
            )
        if any(amount > limits.allowed[name] for name, amount in largest.items()):
            return False
        if self.most == dict(widths):
            raise BudgetError(
                f"the network already needs no more than the budget of {limits}: nothing would be "
                "removed; lower the budget"
            )
        return True

    def _holders(self, limits: Limits, over: Iterable[str]) -> str:
        """Return the groups of whose least widths most of an exceeded cost hangs, largest first."""
        whole = limits.usage_of(self.least)
        saved = {}
        for name, width in self.least.items():
            if width > 1:
                without = limits.usage_of({**self.least, name: 1})
                saved[name] = max(1 - without[one] / whole[one] for one in over)
        if not saved:
            return "no group has more than one unit, and the rest of the network cannot be narrowed"
        names = sorted(saved, key=lambda name: -saved[name])[:_NAMED]
        said = ", ".join(
            f"{name} {saved[name]:.0%} ({self.least[name]} units: {self.why[name]})"
            for name in names
        )
        return f"most of it is held by {said}"


def _check_patterns(patterns: Iterable[str], key: str, graph: ChannelGraph) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in graph.widths):
            hint = nearest(pattern, graph.widths) or "; `lwdna inspect` lists the groups"
            raise RecipeError(
                f"slim.{key}: {pattern!r} matches no group of the network whose width is free{hint}"
            )
