"""What a network may cost: the resources that a budget can name, and the limits it sets on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from lwdna.channels import ChannelGraph
from lwdna.engine import LatencyModel
from lwdna.errors import BudgetError
from lwdna.methods.budget import Budget

CPU = torch.device("cpu")
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Amounts = npt.NDArray[np.int64] | npt.NDArray[np.float64]

Measure = Callable[[IntArray], Amounts]
"""Maps the widths of N candidates, (N, groups) in the graph's order, to what each needs, (N,)."""


@dataclass(frozen=True)
class Resource:
    """Something a network needs an amount of that follows from its widths."""

    unit: str
    measure: Callable[[ChannelGraph, torch.device], Measure]
    """Takes the device that latency is measured on."""


RESOURCES = {
    "macs": Resource("macs", lambda graph, _: lambda widths: graph.costs(widths)[0]),
    "params": Resource("params", lambda graph, _: lambda widths: graph.costs(widths)[1]),
    "memory": Resource("bytes of activations", lambda graph, _: graph.peak_memory),
    "latency": Resource("ms", LatencyModel),
}
"""What a budget can name."""


@dataclass(frozen=True)
class Limits:
    """The most that a network may need of every resource its budget names."""

    graph: ChannelGraph
    allowed: Mapping[str, float]
    """By name of the resource (see :data:`RESOURCES`), in its own unit."""
    device: torch.device = CPU
    """What latency is measured on."""

    @classmethod
    def of(
        cls,
        graph: ChannelGraph,
        widened: Mapping[str, int],
        budget: Budget,
        device: torch.device = CPU,
    ) -> Limits:
        """Turn the fractions of a budget into amounts of the baseline or the widened network."""
        whole = cls(graph, budget.fractions(), device)
        reference = whole.usage_of(None if budget.of == "baseline" else widened)
        return replace(
            whole,
            allowed={
                name: math.floor(whole.allowed[name] * amount)
                if isinstance(amount, int)
                else whole.allowed[name] * amount
                for name, amount in reference.items()
            },
        )

    @cached_property
    def _measures(self) -> dict[str, Measure]:
        return {name: RESOURCES[name].measure(self.graph, self.device) for name in self.allowed}

    def usage(self, widths: npt.ArrayLike) -> dict[str, Amounts]:
        """Return what N candidates need of every limited resource, (N,) each.

        Args:
            widths: (N, groups), in the order of ``graph.groups``.
        """
        candidates = np.asarray(widths, dtype=np.int64)
        return {name: measure(candidates) for name, measure in self._measures.items()}

    def usage_of(self, widths: Mapping[str, int] | None = None) -> dict[str, int | float]:
        """Return what one network needs of every limited resource (default: the baseline)."""
        full = self.graph.complete(widths)
        row = [[full[group.name] for group in self.graph.groups]]
        return {name: amounts[0].item() for name, amounts in self.usage(row).items()}

    def fits(self, widths: npt.ArrayLike) -> BoolArray:
        """Return which of N candidates, (N, groups), stay within all limits, (N,)."""
        usage = self.usage(widths)
        within: BoolArray = np.logical_and.reduce(
            [amounts <= self.allowed[name] for name, amounts in usage.items()]
        )
        return within

    def differences(self, widths: npt.ArrayLike, sign: int) -> dict[str, FloatArray]:
        """Return by how much one unit more (``sign`` 1) or less (-1) of each group changes usage.

        Args:
            widths: (groups,), in the order of ``graph.groups``.
            sign: which way.

        Returns:
            By resource, (groups,), never negative.
        """
        here = np.asarray(widths, dtype=np.int64)
        now = self.usage(here[None])
        then = self.usage(here + sign * np.eye(len(here), dtype=np.int64))
        return {
            name: np.maximum(sign * (then[name] - now[name]), 0).astype(np.float64) for name in now
        }

    def check_reachable(self, most: Mapping[str, int], least: Mapping[str, int]) -> None:
        """Make sure that the limits lie between what the floors and the widened network need.

        Args:
            most: widths of the widened network.
            least: floors.

        Raises:
            BudgetError: the floors alone need more than is allowed, or the widened network less.
        """
        largest, smallest = self.usage_of(most), self.usage_of(least)
        if all(largest[name] <= limit for name, limit in self.allowed.items()):
            raise BudgetError(
                f"the budget of {self} is not below the widened network's {amounts(largest)}: "
                "nothing would be removed; lower the budget or raise width_mult"
            )
        if any(smallest[name] > limit for name, limit in self.allowed.items()):
            raise BudgetError(
                f"the budget of {self} is below what the floors alone cost, "
                f"{amounts(smallest)}; raise the budget or lower floor and linear_floor"
            )

    def __str__(self) -> str:
        return amounts(self.allowed)


def amounts(usage: Mapping[str, float]) -> str:
    """Return amounts by the resource's name as text, with their units."""
    return " and ".join(
        f"{amount:,} {RESOURCES[name].unit}"
        if isinstance(amount, int)
        else f"{amount:.4g} {RESOURCES[name].unit}"
        for name, amount in usage.items()
    )
