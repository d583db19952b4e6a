"""The widths that groups may take: multiples where a group is wide, and the baseline's own.

Kernels of GPUs and phones work on channels by eights: a network whose wide layers have odd widths
takes longer than one with more channels. In narrow groups a multiple of 8 would be too coarse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from lwdna.channels import ChannelGraph
    from lwdna.methods.limits import FloatArray, IntArray, Limits

WIDE, EIGHT = 32, 8
"""From how many channels in the baseline on a group's widths are multiples, and of what."""
ANY_WIDTH: Mapping[str, int] = MappingProxyType({})
"""No group has to be a multiple of anything."""


@dataclass(frozen=True)
class Grid:
    """The widths that groups may take."""

    allowed: tuple[IntArray, ...]
    """By group, in the graph's order, ascending."""

    @classmethod
    def of(
        cls,
        graph: ChannelGraph,
        least: Mapping[str, int],
        most: Mapping[str, int],
        multiple: Mapping[str, int] = ANY_WIDTH,
    ) -> Grid:
        """Return the multiples between bounds, and the baseline's own widths if they lie there.

        A group with no multiple between its bounds may take either bound.

        Args:
            graph: channel graph of the baseline.
            least: floor by group.
            most: widened width by group.
            multiple: of what widths are multiples by group; groups left out take any.
        """
        names = [group.name for group in graph.groups]
        return cls(
            tuple(
                _allowed(least[name], most[name], graph.widths[name], multiple.get(name, 1))
                for name in names
            )
        )

    def nearest(self, widths: FloatArray | IntArray) -> IntArray:
        """Return the widths allowed next to ``widths``, (..., groups); of two the wider."""

        def one(allowed: IntArray, wanted: FloatArray | IntArray) -> IntArray:
            place = np.searchsorted(allowed, wanted)
            above = allowed[np.minimum(place, len(allowed) - 1)]
            below = allowed[np.maximum(place - 1, 0)]
            return np.where(above - wanted <= wanted - below, above, below)

        return self._each(one, widths)

    def wider(self, widths: IntArray) -> IntArray:
        """Return the next width up of every group, (..., groups); its own where there is none."""

        def one(allowed: IntArray, now: FloatArray | IntArray) -> IntArray:
            place = np.searchsorted(allowed, now, side="right")
            found = allowed[np.minimum(place, len(allowed) - 1)]
            return np.where(place < len(allowed), found, now).astype(np.int64)

        return self._each(one, widths)

    def narrower(self, widths: IntArray) -> IntArray:
        """Return the next width down of every group, (..., groups); its own if there is none."""

        def one(allowed: IntArray, now: FloatArray | IntArray) -> IntArray:
            place = np.searchsorted(allowed, now) - 1
            return np.where(place >= 0, allowed[np.maximum(place, 0)], now).astype(np.int64)

        return self._each(one, widths)

    def _each(
        self,
        one: Callable[[IntArray, FloatArray | IntArray], IntArray],
        widths: FloatArray | IntArray,
    ) -> IntArray:
        columns = zip(self.allowed, np.moveaxis(widths, -1, 0), strict=True)
        return np.stack([one(allowed, column) for allowed, column in columns], axis=-1)


def one_changed(widths: IntArray, others: IntArray) -> IntArray:
    """Return N networks, (N, N), of which the n-th has the n-th of other widths; both are (N,)."""
    return np.where(np.eye(len(widths), dtype=np.bool_), others, widths)


def multiples_of(
    multiple: int | Literal["auto"],
    limits: Limits,
    least: Mapping[str, int],
    most: Mapping[str, int],
) -> dict[str, int]:
    """Return of what the widths of every group are multiples, as a recipe says it.

    Args:
        multiple: the same for all groups or ``"auto"``: 8 for groups of 32 channels or more in the
            baseline, unless the narrowest of such widths exceed the limits.
        limits: what the network may cost.
        least: floor by group.
        most: widened width by group.
    """
    graph = limits.graph
    if isinstance(multiple, int):
        return dict.fromkeys(graph.widths, multiple)
    chosen = {name: EIGHT if width >= WIDE else 1 for name, width in graph.widths.items()}
    narrowest = [widths[0] for widths in Grid.of(graph, least, most, chosen).allowed]
    return chosen if limits.fits([narrowest])[0] else dict.fromkeys(chosen, 1)


def _allowed(least: int, most: int, base: int, multiple: int) -> IntArray:
    first = -(-least // multiple) * multiple
    found: IntArray = np.arange(first, most + 1, multiple, dtype=np.int64)
    if not len(found):
        found = np.array([least, most], dtype=np.int64)
    if least <= base <= most:
        found = np.append(found, base)
    return np.unique(found)
