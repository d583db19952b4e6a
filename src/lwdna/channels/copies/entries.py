"""Which entries of an axis belong to which units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lwdna.channels.graph.axes import AxisLayout, GroupWidths


def kept_entries(
    axis: AxisLayout, widths: GroupWidths, kept: Mapping[int, Tensor]
) -> Tensor | None:
    """Return the entries of an axis that stay, given the units kept by group; None where all do."""
    if not any(group in kept for group in axis.groups):
        return None
    entries = torch.arange(axis.length(widths))
    pieces = [
        piece if group is None or group not in kept else piece[:, kept[group]]
        for group, piece in axis.split(entries, widths)
    ]
    return torch.cat([piece.reshape(-1) for piece in pieces])


def added_entries(axis: AxisLayout, widths: GroupWidths, group: int, units: Tensor) -> Tensor:
    """Return the entries of an axis that belong to some units of one group."""
    entries = torch.arange(axis.length(widths))
    pieces = [piece[:, units] for one, piece in axis.split(entries, widths) if one == group]
    return torch.cat([piece.reshape(-1) for piece in pieces])


def cut(
    tensor: Tensor, axes: Sequence[AxisLayout], widths: GroupWidths, kept: Mapping[int, Tensor]
) -> Tensor:
    """Return a copy of a tensor with the entries of the units kept, by group, along all axes."""
    for axis, layout in enumerate(axes):
        chosen = kept_entries(layout, widths, kept)
        if chosen is not None:
            tensor = tensor.detach().index_select(axis, chosen.to(tensor.device))
    return tensor.detach().clone()
