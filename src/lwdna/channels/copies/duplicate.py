"""Wider networks that compute what they did: units repeated, what reads them divided among copies.

Chen, Goodfellow and Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016
(arXiv 1511.05641), section 2.3. There, copies are told apart by noise; here, by unequal shares of
the weights that read them, so that the network stays exact. With equal ones all copies of a unit
would get the same gradient for ever.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lwdna.channels.copies.entries import kept_entries
from lwdna.channels.graph.graph import ChannelGraph

LEAST, MOST = 1.0, 3.0
"""Shares of copies are in proportion to uniform draws between these."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def reading_axes(model: nn.Module) -> dict[str, int]:
    """Return the axis of each weight over which its layer sums what it reads, by parameter's name.

    Of convolutions and linear layers; in others units are repeated only.
    """
    found = {}
    for path, module in model.named_modules():
        name = f"{path}.weight" if path else "weight"
        if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
            found[name] = 1
        elif isinstance(module, _TRANSPOSED) and module.groups != module.in_channels:
            found[name] = 0
    return found


def divide(
    model: nn.Module,
    graph: ChannelGraph,
    units: Mapping[int, Tensor],
    reading: Mapping[str, int],
    seed: int | None,
) -> None:
    """Divide the weights that read repeated units among the copies, in place.

    Args:
        model: whose units are repeated already.
        graph: of the network before.
        units: for each unit of a group that of the network before, by position of the group.
        reading: what :func:`reading_axes` says of the network before.
        seed: of the shares; None draws from torch's global generator.
    """
    old = graph.in_order(graph.widths)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name not in reading:
                continue
            axis = reading[name]
            layout = graph.tensors[name][axis]
            origin = kept_entries(layout, old, units)
            if origin is None or len(origin.unique()) == len(origin):
                continue
            drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
            drawn = LEAST + (MOST - LEAST) * drawn
            shape = list(drawn.shape)
            shape[axis] = layout.length(old)
            sums = drawn.new_zeros(shape).index_add_(axis, origin, drawn)
            shares = drawn / sums.index_select(axis, origin)
            parameter.mul_(shares.to(parameter))
