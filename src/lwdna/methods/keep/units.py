"""What keep rules share: what always stays, which units are best, how further ones add less."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lwdna.channels import ChannelGraph


def floors(
    graph: ChannelGraph,
    widened: Mapping[str, int],
    floor: float,
    linear_floor: float,
    least_units: int = 1,
) -> dict[str, int]:
    """Return the least width of every group: a fraction of the widened units, or a number."""
    fractions = {
        group.name: math.ceil((linear_floor if group.feeds_output else floor) * widened[group.name])
        for group in graph.groups
    }
    return {name: max(least, min(least_units, widened[name])) for name, least in fractions.items()}


def best_units(scores: Mapping[str, Tensor], widths: Mapping[str, int]) -> dict[str, Tensor]:
    """Return the indices, ascending, of each group's best units; of equal ones, the first."""
    return {
        name: scores[name].argsort(descending=True, stable=True)[:width].sort().values
        for name, width in widths.items()
    }


def best_before_copies(
    scores: Mapping[str, Tensor], widths: Mapping[str, int], own: Mapping[str, int]
) -> dict[str, Tensor]:
    """Return each group's units that stay, ascending, where a network was widened by copies.

    A copy adds nothing to what the network computes while the unit itself is not there. So a
    group's own units stay first, the best of them, then best copies.

    Args:
        scores: one per widened unit; unit u is a copy of u modulo the group's own width.
        widths: how many stay.
        own: the groups' widths before.
    """
    found = {}
    for name, given in scores.items():
        left, kept = widths[name], []
        for start, part in enumerate(given.split(own[name])):
            best = best_units({name: part}, {name: max(0, left)})[name]
            kept.append(best + start * own[name])
            left -= len(best)
        found[name] = kept[0].new_tensor([unit for part in kept for unit in part.tolist()])
    return found


def even(units: Tensor) -> Tensor:
    """Return evenly spaced scores in (0, 1) for units, (n,) as ``units``, the first the best."""
    places = units.new_ones(len(units)).double().cumsum(0)
    return 1 - (places - 0.5) / len(units)


def diminishing(importance: float, units: Tensor, curvature: float = 0.0) -> Tensor:
    """Return scores for units, (n,) as ``units``, of which every further one adds less.

    A group of n of them has an importance of ``importance`` log n or, with a ``curvature``,
    -``importance`` n ** -curvature / curvature. The k-th unit adds its slope half a unit before,
    ``importance`` / (k - 1/2) ** (1 + curvature).
    """
    places = units.new_ones(len(units)).double().cumsum(0)
    return importance / (places - 0.5) ** (1 + curvature)
