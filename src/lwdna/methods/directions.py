"""Directions in which the widths of a network are tried: groups that are alike move together.

A network has tens of groups, and a few dozen short trainings cannot tell them all apart. But groups
that lie at the same depth, are written and read by as many layers and work at the same resolution
are likely to want the same: the insides of neighbouring blocks, or the trunks of two stages. So let
the logarithms of the widths be Gaussian with a covariance that falls with the distance between what
groups are like, and keep its largest principal directions.
"""

from __future__ import annotations

import numpy as np

from lwdna.channels import ChannelGraph
from lwdna.methods.budget import FloatArray

DEPTH, RESOLUTION = 4.0, 0.25
"""How much the whole depth, and a factor of two in MACs per parameter, count as a distance; twice
as many layers that write or read a group are a distance of 1."""


def directions(graph: ChannelGraph, count: int) -> FloatArray:
    """Return principal directions of the logarithms of the widths, (groups, at most ``count``).

    Each column is as long as the standard deviation along it, for a standard deviation of 1 of
    every group on its own.
    """
    places = np.stack(
        [
            DEPTH * _depth(graph),
            np.log2(_count(graph, produces=True)),
            np.log2(_count(graph, produces=False)),
            RESOLUTION * _resolution(graph),
        ],
        axis=1,
    )
    distances = ((places[:, None] - places[None]) ** 2).sum(-1)
    variances, axes = np.linalg.eigh(np.exp(-distances / 2))
    largest = slice(None, -count - 1, -1)
    found: FloatArray = axes[:, largest] * np.sqrt(np.maximum(variances[largest], 0))
    return found


def _touching(graph: ChannelGraph) -> list[list[tuple[int, bool]]]:
    """Return by group the numbers of the operations it takes part in, and whether it is written."""
    found: list[list[tuple[int, bool]]] = [[] for _ in graph.groups]
    for number, operation in enumerate(graph.operations):
        written = {part.group for axis in operation.produces for part in axis}
        for group in {part.group for axis in operation.axes for part in axis} - {-1}:
            found[group].append((number, group in written))
    return found


def _depth(graph: ChannelGraph) -> FloatArray:
    """Return how deep the operations of every group lie on average, from 0 to 1."""
    last = max(1, len(graph.operations) - 1)
    return np.array(
        [
            np.mean([number for number, _ in touching]) / last if touching else 0.5
            for touching in _touching(graph)
        ]
    )


def _count(graph: ChannelGraph, *, produces: bool) -> FloatArray:
    """Return how many operations write a group, or read it; at least one."""
    return np.array(
        [
            max(1, sum(written == produces for _, written in touching))
            for touching in _touching(graph)
        ],
        dtype=np.float64,
    )


def _resolution(graph: ChannelGraph) -> FloatArray:
    """Return the binary logarithm of the MACs per parameter of one unit more of every group."""
    widths = np.array(list(graph.widths.values()), dtype=np.int64)
    more = widths + np.vstack([np.zeros_like(widths), np.eye(len(widths), dtype=np.int64)])
    macs, params = (np.maximum(cost[1:] - cost[0], 1) for cost in graph.costs(more)[:2])
    found: FloatArray = np.log2(macs / params)
    return found
