"""Groups gathered into features: what a few dozen trainings can tell apart.

A network has tens of groups. Those of one stage (resolution) that play one role are likely to want
the same: the insides of neighbouring blocks, the residual stream around them. They get one exponent
in the law of the network (:mod:`lwdna.methods.trials.law`) and change their widths together.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

import numpy as np

from lwdna.channels import ChannelGraph
from lwdna.channels.graph.operators import Operator
from lwdna.methods.limits import FloatArray

STREAM, INSIDE, GATE, STEM, HEAD = "stream", "inside", "gate", "stem", "head"
"""Roles: written by several layers or read by many (a residual or dense stream); between two
layers; one value for all places, as in squeeze-and-excitation; next to the input; before the last
layer."""
MANY = 3
"""Readers that make a group a stream, though one layer alone writes it."""


@dataclass(frozen=True)
class Feature:
    """Groups that change their widths together."""

    role: str
    stages: tuple[int, ...]
    """Numbers of the resolutions at which they work, from 1, the finest."""
    groups: tuple[int, ...]
    """Their positions in the graph."""
    layers: int
    """How many layers write or read them, counted for every group."""
    name: str

    def with_(self, other: Feature) -> Feature:
        """Return the feature of both."""
        stages = tuple(sorted({*self.stages, *other.stages}))
        groups = tuple(sorted((*self.groups, *other.groups)))
        return Feature(
            self.role, stages, groups, self.layers + other.layers, _name(self.role, stages)
        )


def gathered(graph: ChannelGraph, most: int) -> list[Feature]:
    """Return features that hold every group once, in the order of the graph.

    Groups of one role and stage are one feature; of more than ``most`` such features, those of
    neighbouring stages become one, the cheapest first. A network of at most ``most`` groups has one
    feature for each.
    """
    found = single(graph)
    return found if len(found) <= most else by_stage(graph, most)


def single(graph: ChannelGraph) -> list[Feature]:
    """Return one feature for each group, named after it, in the order of the graph."""
    layers = _Layer.of(graph)
    touched = [_Touching.of(graph, layers, group) for group in range(len(graph.groups))]
    resolutions = sorted({one.positions for one in touched}, reverse=True)
    return [
        Feature(
            one.role,
            (resolutions.index(one.positions) + 1,),
            (number,),
            one.layers,
            graph.groups[number].name,
        )
        for number, one in enumerate(touched)
    ]


def by_stage(graph: ChannelGraph, most: int) -> list[Feature]:
    """Return at most ``most`` features of one role and stage, or neighbouring stages, each."""
    found = joined((one, (one.role, one.stages)) for one in single(graph))
    return _merged(found, elasticities(graph), most)


def joined(features: Iterable[tuple[Feature, Hashable]]) -> list[Feature]:
    """Return one feature for each key, in the order in which keys come first."""
    found: dict[Hashable, Feature] = {}
    for one, key in features:
        own = replace(one, name=_name(one.role, one.stages))
        found[key] = found[key].with_(own) if key in found else own
    return list(found.values())


def elasticities(graph: ChannelGraph) -> FloatArray:
    """Return by how many per cent MACs and parameters grow with each width's one, (groups, 2)."""
    widths = np.array([list(graph.widths.values())], dtype=np.int64)
    more = widths + np.vstack([0 * widths, np.eye(widths.shape[1], dtype=np.int64)])
    costs = np.stack(graph.costs(more), axis=1).astype(np.float64)
    found: FloatArray = widths.T * (costs[1:] - costs[0]) / np.maximum(costs[0], 1)
    return found


def _merged(features: list[Feature], costs: FloatArray, most: int) -> list[Feature]:
    """Join neighbouring stages of one role until there are no more than ``most`` features."""

    def weight(pair: tuple[Feature, Feature]) -> float:
        return float(costs[[*pair[0].groups, *pair[1].groups]].sum())

    while len(features) > most:
        pairs = []
        for role in dict.fromkeys(one.role for one in features):
            line = sorted((f for f in features if f.role == role), key=lambda f: f.stages)
            pairs += list(pairwise(line))
        if not pairs:
            break
        one, other = min(pairs, key=weight)
        features = [f for f in features if f not in (one, other)] + [one.with_(other)]
    return sorted(features, key=lambda feature: feature.groups)


def _name(role: str, stages: Sequence[int]) -> str:
    span = f"{stages[0]}" if len(stages) == 1 else f"{stages[0]} to {stages[-1]}"
    return f"stage{'s' * (len(stages) > 1)} {span}, {role}"


@dataclass(frozen=True)
class _Layer:
    """What an operator with MACs does to groups, and at how many places it uses its weights."""

    reads: frozenset[int]
    writes: frozenset[int]
    positions: int

    @classmethod
    def of(cls, graph: ChannelGraph) -> list[_Layer]:
        """Return those of a network, in the order in which they run."""
        widths = list(graph.widths.values())
        found = []
        for one in graph.operators:
            if one.terms:
                values = [form.axes for form in one.inputs if not form.constant]
                reads = frozenset(
                    group for axes in values for axis in axes for group in axis.groups
                )
                writes = frozenset(group for axis in one.produces for group in axis.groups)
                found.append(cls(reads, writes, _positions(one, widths)))
        return found


@dataclass(frozen=True)
class _Touching:
    """What the operators with MACs say of a group."""

    role: str
    positions: int
    """How many places of an image the group's values belong to."""
    layers: int

    @classmethod
    def of(cls, graph: ChannelGraph, layers: Sequence[_Layer], group: int) -> _Touching:
        sizes = [layer.positions for layer in layers]
        # what has one value for all places is a gate, unless all that follows has
        last = max((number for number, size in enumerate(sizes) if size > 1), default=-1)
        writers: list[tuple[int, int]] = []  # number and positions of each
        readers, touching, near_input = 0, 0, False
        for number, layer in enumerate(layers):
            reads, writes = group in layer.reads, group in layer.writes
            touching += reads or writes
            readers += reads and not writes and layer.positions > 1  # depthwise passes channels on
            if writes and not reads:
                writers.append((number, layer.positions))
                near_input |= not layer.reads
        spread = [size for number, size in writers if size > 1 or number > last]
        around = [max(sizes[: number + 1][-MANY:]) for number, _ in writers]
        if writers and not spread:
            role = HEAD if graph.groups[group].feeds_output else GATE
        elif len(spread) > 1 or readers >= MANY:
            role = STREAM
        elif near_input:
            role = STEM
        else:
            role = HEAD if graph.groups[group].feeds_output else INSIDE
        return cls(role, max(spread or around, default=1), touching)


def _positions(layer: Operator, widths: Sequence[int]) -> int:
    """Return at how many places of one example a layer uses its weights."""
    weights = [form for form in layer.inputs if form.constant and len(form.axes) > 1]
    weight = (weights or layer.inputs)[-1]  # of a product of two activations the second
    return max(1, layer.macs(widths) // prod(axis.length(widths) for axis in weight.axes))
