"""Which axes of a network's parameters share a width, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.channels.copies.resize import resize, widen, widened_widths
    from lwdna.channels.graph.cost import Cost, LayerCost
    from lwdna.channels.graph.edits import Edits
    from lwdna.channels.graph.graph import ChannelGraph
    from lwdna.channels.graph.structure import Group, Member
    from lwdna.channels.proof.duplication import widen_exactly
    from lwdna.channels.rules import register_rule
    from lwdna.channels.trace import trace

__all__ = [
    "ChannelGraph",
    "Cost",
    "Edits",
    "Group",
    "LayerCost",
    "Member",
    "register_rule",
    "resize",
    "trace",
    "widen",
    "widen_exactly",
    "widened_widths",
]

export_lazily(
    __name__,
    {
        "lwdna.channels.copies.resize": (
            "resize",
            "widen",
            "widened_widths",
        ),
        "lwdna.channels.graph.cost": (
            "Cost",
            "LayerCost",
        ),
        "lwdna.channels.graph.edits": ("Edits",),
        "lwdna.channels.graph.graph": ("ChannelGraph",),
        "lwdna.channels.graph.structure": (
            "Group",
            "Member",
        ),
        "lwdna.channels.proof.duplication": ("widen_exactly",),
        "lwdna.channels.rules": ("register_rule",),
        "lwdna.channels.trace": ("trace",),
    },
)
