"""One latent vector per group of coupled channels, and how latents enter a weight.

Legend: O output and I input channels of a weight (I per convolution group), K kernel positions,
m embedding size, n units of a group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from lwdna.channels.graph.axes import AxisLayout
from lwdna.channels.graph.graph import ChannelGraph


class Latents(nn.Module):
    """The latent vectors z_g ~ N(0, 1), one entry per unit, shared by all layers of a group.

    Source: Li et al., "The Heterogeneity Hypothesis", CVPR 2021, section 3; DHP, ECCV 2020.
    """

    def __init__(
        self, graph: ChannelGraph, widths: Mapping[str, int], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.names = [group.name for group in graph.groups]
        self.vectors = nn.ParameterList(
            nn.Parameter(torch.randn(widths[name], generator=generator)) for name in self.names
        )


def generated_weights(model: nn.Module, graph: ChannelGraph) -> dict[str, _ConvNd | nn.Linear]:
    """Return the weights a hypernetwork generates, by name, with the layers that own them.

    These are the weights of convolutions and linear layers with at least one free channel axis;
    biases, normalisation and fixed layers stay ordinary parameters.
    """
    names = {
        f"{path}.weight" if path else "weight": module
        for path, module in model.named_modules()
        if isinstance(module, _ConvNd | nn.Linear)
    }
    return {
        name: names[name]
        for name in graph.parameters
        if name in names and not all(axis.is_fixed for axis in graph.tensors[name][:2])
    }


def rows_at_a_time(shape: torch.Size) -> int:
    """Return how many output channels of a weight to work on at once, to stay in a cache."""
    return max(1, (1 << 20) // math.prod(shape[1:]))


def draw_factors(
    shape: torch.Size, embedding_dim: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw W1 (O, I, m) and W2 (O, I, K, m), uniform with variances 1 and 1 / (m * fan_in).

    Then a generated weight has variance 1 / fan_in ("hyperfan-in": Chang et al., "Principled
    Weight Initialization for Hypernetworks", ICLR 2020). Both come in pieces of a few rows.
    """
    out, inside, kernel = shape[0], shape[1], math.prod(shape[2:])
    one, two = math.sqrt(3.0), math.sqrt(3.0 / (embedding_dim * inside * kernel))
    step = rows_at_a_time(shape)
    for start in range(0, out, step):
        rows = min(step, out - start)
        first = torch.empty(rows, inside, embedding_dim).uniform_(-one, one, generator=generator)
        second = torch.empty(rows, inside, kernel, embedding_dim)
        yield first, second.uniform_(-two, two, generator=generator)


def sum_by_unit(values: Tensor, axis: AxisLayout, totals: list[Tensor]) -> None:
    """Add per-channel ``values`` of an axis to the totals of the units they belong to."""
    for group, piece in axis.split(values, list(map(len, totals))):
        if group is not None:
            totals[group] += piece.sum((0, 2)).to(totals[group])
