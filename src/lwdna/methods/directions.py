"""Directions in which the widths of a network are tried: groups that are alike move together.

A network has tens of groups, and a few dozen short trainings cannot tell them all apart. But groups
that lie at the same depth, are written and read by as many layers and work at the same resolution
are likely to want the same: the insides of neighbouring blocks, or the residual streams of two
stages. So let the logarithms of the widths be Gaussian with a covariance that falls with the
distance between what groups are like, and keep its largest principal directions.
"""

from __future__ import annotations

import numpy as np

from lwdna.channels import ChannelGraph
from lwdna.methods.limits import FloatArray

DEPTH, RESOLUTION = 4.0, 0.25
"""How much the whole depth, and a factor of two in MACs per parameter, count as a distance; twice
as many layers that write or read a group are a distance of 1."""


def directions(graph: ChannelGraph, count: int) -> FloatArray:
    """Return principal directions of the logarithms of the widths, (groups, at most ``count``).

    Each column is as long as the standard deviation along it, for a standard deviation of 1 of
    every group on its own.
    """
    depth, writers, readers = _touching(graph).T
    places = np.stack(
        [
            DEPTH * depth,
            np.log2(np.maximum(writers, 1)),
            np.log2(np.maximum(readers, 1)),
            RESOLUTION * _resolution(graph),
        ],
        axis=1,
    )
    distances = ((places[:, None] - places[None]) ** 2).sum(-1)
    variances, axes = np.linalg.eigh(np.exp(-distances / 2))
    largest = slice(None, -count - 1, -1)
    found: FloatArray = axes[:, largest] * np.sqrt(np.maximum(variances[largest], 0))
    return found


def _touching(graph: ChannelGraph) -> FloatArray:
    """Return of every group, (groups, 3), the mean depth of the operators with MACs in which it
    takes part, from 0 to 1, and how many of them write and read it."""
    operators = [operator for operator in graph.operators if operator.terms]
    last = max(1, len(operators) - 1)
    found: list[list[tuple[float, bool]]] = [[] for _ in graph.groups]
    for number, operator in enumerate(operators):
        written = {group for axis in operator.produces for group in axis.groups}
        for group in set().union(*(term.groups for term in operator.terms)):
            found[group].append((number / last, group in written))
    rows = []
    for touching in found:
        writers = sum(written for _, written in touching)
        depth = np.mean([depth for depth, _ in touching]) if touching else 0.5
        rows.append((depth, writers, len(touching) - writers))
    return np.array(rows, dtype=np.float64)


def _resolution(graph: ChannelGraph) -> FloatArray:
    """Return the binary logarithm of the MACs per parameter of one unit more of every group."""
    widths = np.array(list(graph.widths.values()), dtype=np.int64)
    more = widths + np.vstack([np.zeros_like(widths), np.eye(len(widths), dtype=np.int64)])
    macs, params = (np.maximum(cost[1:] - cost[0], 1) for cost in graph.costs(more)[:2])
    found: FloatArray = np.log2(macs / params)
    return found
