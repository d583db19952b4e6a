"""What pairs of convolutions cost beside the convolutions whose places they took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lwdna.channels import ChannelGraph


@dataclass(frozen=True)
class PairCost:
    """MACs of a basis and its mix, and of one convolution with as many inputs and outputs."""

    name: str
    macs: int
    dense: int


def costs_of_pairs(
    graph: ChannelGraph, widths: Mapping[str, int] | None = None
) -> tuple[PairCost, ...]:
    """Return what the pairs cost that ``factorize`` and ``filter-basis`` left in a network.

    They may need more MACs than one convolution: on narrow layers those of a filter basis mostly
    do, even where they save parameters.

    Args:
        graph: of the network that the transforms made.
        widths: of groups, by name; those that are missing keep theirs.
    """
    ordered = graph.in_order(graph.complete(widths))
    macs: dict[str, int] = {}
    outputs: dict[str, int] = {}
    for operator in graph.operators:
        if operator.op == "convolution":
            macs[operator.module] = macs.get(operator.module, 0) + operator.macs(ordered)
            outputs[operator.module] = operator.produces[0].length(ordered)
    found = []
    for module in macs:
        parent, _, last = module.rpartition(".")
        mix = f"{parent}.mix" if parent else "mix"
        if last == "basis" and mix in macs:
            dense = macs[module] * outputs[mix] // outputs[module]  # as many filters as outputs
            found.append(PairCost(parent, macs[module] + macs[mix], dense))
    return tuple(found)
