"""What pairs of convolutions cost beside the convolutions whose places they took."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd

from lwdna.channels import ChannelGraph


@dataclass(frozen=True)
class PairCost:
    """MACs of a basis and its mix, and of the convolution with as many inputs and outputs."""

    name: str
    macs: int
    dense: int


def costs_of_pairs(network: nn.Module, graph: ChannelGraph) -> tuple[PairCost, ...]:
    """Return what the pairs of a network cost that ``factorize`` and ``filter-basis`` made.

    A pair may need more MACs than the convolution did: on narrow layers those of a filter basis
    mostly do, even where they save parameters.

    Args:
        network: as it is traced.
        graph: of :func:`lwdna.trace`.
    """
    macs = {layer.name: layer.macs for layer in graph.layers()}
    found = []
    for name, module in network.named_modules():
        basis, mix = (getattr(module, part, None) for part in ("basis", "mix"))
        if not isinstance(module, nn.Sequential):
            continue
        if not (isinstance(basis, _ConvNd) and isinstance(mix, _ConvNd)):
            continue
        prefix = name and f"{name}."
        positions = macs[f"{prefix}mix"] // mix.weight.numel()
        parts = mix.in_channels // basis.out_channels
        window = basis.weight[0, 0].numel()
        dense = positions * mix.out_channels * parts * basis.in_channels * window
        found.append(PairCost(name, macs[f"{prefix}basis"] + macs[f"{prefix}mix"], dense))
    return tuple(found)
