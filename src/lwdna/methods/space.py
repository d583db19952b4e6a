"""The widths between floors and widened widths that a budget allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from lwdna.channels import ChannelGraph
from lwdna.methods.grid import Grid, multiples_of, one_changed
from lwdna.methods.keep.units import floors
from lwdna.methods.limits import FloatArray, IntArray, Limits
from lwdna.methods.settings import ShrinkSettings

HALVINGS = 40


def least_widths(
    graph: ChannelGraph, widened: Mapping[str, int], settings: ShrinkSettings
) -> dict[str, int]:
    """Return how many units of every group always stay."""
    return floors(graph, widened, settings.floor, settings.linear_floor, settings.least_units)


@dataclass(frozen=True)
class Space:
    """The widths between floors and widened widths that a budget allows."""

    limits: Limits
    least: Mapping[str, int]
    most: Mapping[str, int]
    steps: Mapping[str, int] = field(default_factory=dict)
    """Of what widths are multiples, by group; groups left out take any width."""

    @staticmethod
    def of(
        graph: ChannelGraph,
        widened: Mapping[str, int],
        settings: ShrinkSettings,
        device: torch.device,
    ) -> Space:
        """Return the space that the floors, multiples and budget of a search leave.

        Args:
            graph: channel graph of the baseline.
            widened: the widths of the widened network.
            settings: of the search.
            device: what latency is measured on.
        """
        least = least_widths(graph, widened, settings)
        limits = Limits.of(graph, widened, settings.budget, device)
        steps = multiples_of(settings.multiple, limits, least, widened)
        return Space(limits, least, widened, steps)

    @cached_property
    def base(self) -> IntArray:
        """The baseline's widths, (groups,)."""
        return np.array(list(self.limits.graph.widths.values()), dtype=np.int64)

    @cached_property
    def grid(self) -> Grid:
        """The widths that groups may take."""
        return Grid.of(self.limits.graph, self.least, self.most, self.steps)

    def narrowed(self) -> IntArray:
        """Return the baseline, (groups,), narrowed by one factor where the budget wants that.

        Units that still fit go to the group that is furthest below that factor.
        """
        within = self.grid.nearest(self.base)
        if np.array_equal(within, self.base) and self.limits.fits(self.base[None])[0]:
            return self.base
        low, high = -4.0, 4.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            fits = self.limits.fits(self.grid.nearest(self.base * np.exp(middle))[None])[0]
            low, high = (middle, high) if fits else (low, middle)
        found = self.grid.nearest(self.base * np.exp(low))
        return self.filled(found, lambda widths, _: self.base / widths)

    def filled(
        self, widths: IntArray, worth: Callable[[IntArray, IntArray], FloatArray]
    ) -> IntArray:
        """Return a network, (groups,), with as many units more as fit.

        Args:
            widths: (groups,).
            worth: says of widths and the next wider ones what widening each group alone is worth,
                (groups,); one that is worth nothing stays.
        """
        while True:
            wider = self.grid.wider(widths)
            more = one_changed(widths, wider)
            value = np.where(wider > widths, worth(widths, wider), 0)
            may = (value > 0) & self.limits.fits(more)
            if not may.any():
                return widths
            widths = more[int(np.argmax(np.where(may, value, -1)))]
