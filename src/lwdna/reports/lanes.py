"""Geometry of the drawing of a channel graph: a row per layer, a lane per group.

Layers stand below one another in the order in which they run. A group's lane reaches from the
first layer that touches it to the last, beside the lanes of other groups, so a residual stream is
one line along the stage it runs through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from lwdna.channels.graph.graph import ChannelGraph
from lwdna.channels.graph.operators import Operator

COLOURS = 7
"""Colours of the style sheet that lanes take turns in."""

_SECTIONS = 5
_SHORT = 3


@dataclass(frozen=True)
class Layer:
    """One operator with MACs: the groups it reads and writes, by index.

    One that goes ``through`` keeps every channel to itself, as a depthwise convolution does.
    ``section`` is the leading part of the module's path that it has in common with its
    neighbours; ``opens`` says whether another one ends right before it.
    """

    module: str
    kind: str
    shape: tuple[int, ...]
    macs: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    through: bool
    section: str
    opens: bool


class Span(NamedTuple):
    """Rows from first to last."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first

    def contains(self, other: Span) -> bool:
        return self.first <= other.first and other.last <= self.last

    def meets(self, other: Span) -> bool:
        """Whether the two cannot share a column.

        Where a long one ends another may begin; short ones would look like its continuation.
        """
        common = min(self.last, other.last) - max(self.first, other.first)
        return common > 0 or (common == 0 and min(self.length, other.length) <= _SHORT)


@dataclass(frozen=True)
class Lane:
    """Where a group's lane lies: column, rows from first to last, and one of the colours."""

    group: int
    column: int
    colour: int
    first: int
    last: int
    writers: tuple[int, ...]
    readers: tuple[int, ...]
    coupled: bool
    """Whether the results of several layers meet; what only goes through does not count."""


@dataclass(frozen=True)
class Drawing:
    """All layers and lanes; groups that no layer with MACs touches have no lane."""

    layers: list[Layer]
    lanes: list[Lane]
    columns: int


def draw(graph: ChannelGraph) -> Drawing:
    """Lay out the rows and lanes of a channel graph; the same graph gives the same drawing."""
    layers = _layers(graph)
    writers: dict[int, list[int]] = {}
    readers: dict[int, list[int]] = {}
    for row, layer in enumerate(layers):
        for group in layer.writes:
            writers.setdefault(group, []).append(row)
        for group in layer.reads:
            readers.setdefault(group, []).append(row)
    spans = {}
    for group in sorted({*writers, *readers}):
        rows = sorted([*writers.get(group, ()), *readers.get(group, ())])
        spans[group] = Span(rows[0], rows[-1])
    columns = _columns(spans)
    colours = _colours(spans, columns)
    lanes = [
        Lane(
            group,
            columns[group],
            colours[group],
            first,
            last,
            tuple(writers.get(group, ())),
            tuple(readers.get(group, ())),
            coupled=sum(not layers[row].through for row in writers.get(group, ())) > 1,
        )
        for group, (first, last) in spans.items()
    ]
    return Drawing(layers, lanes, max(columns.values(), default=-1) + 1)


def _layers(graph: ChannelGraph) -> list[Layer]:
    operators = [operator for operator in graph.operators if operator.terms]
    sections = _sections([operator.module for operator in operators])
    widths = graph.in_order(graph.widths)
    layers: list[Layer] = []
    seen: set[int] = set()
    for operator, section in zip(operators, sections, strict=True):
        reads, writes = _ends(operator)
        through = bool(writes) and not reads and writes <= seen and not _sums(operator, widths)
        reads = set(writes) if through else reads
        seen.update(reads, writes)
        weight = f"{operator.module}.weight".lstrip(".")
        layers.append(
            Layer(
                operator.module,
                _kind(operator, weight in graph.tensors, through),
                graph.shape(weight, graph.widths) if weight in graph.tensors else (),
                operator.macs(widths),
                tuple(sorted(reads)),
                tuple(sorted(writes)),
                through,
                section,
                opens=bool(layers) and layers[-1].section != section,
            )
        )
    return layers


def _ends(operator: Operator) -> tuple[set[int], set[int]]:
    """Return the groups an operator reads and writes; what it does not produce it reads."""
    reads: set[int] = set()
    writes: set[int] = set()
    for term in operator.terms:
        rest = [set(axis.groups) for axis in term.axes]
        for produced in operator.produces:
            groups = set(produced.groups)
            writes |= groups
            if groups in rest:
                rest.remove(groups)
        reads = reads.union(*rest)
    return reads, writes


def _sums(operator: Operator, widths: Sequence[int]) -> bool:
    """Whether a convolution sums over channels, though no group has them: an image's, say."""
    return _is_convolution(operator) and operator.terms[0].axes[2].length(widths) > 1


def _is_convolution(operator: Operator) -> bool:
    return operator.op.endswith("convolution")


def _kind(operator: Operator, has_weight: bool, through: bool) -> str:
    if not _is_convolution(operator):
        return "linear" if has_weight else "matrix product"
    return "depthwise conv" if through else "conv"


def _sections(modules: Sequence[str]) -> list[str]:
    """Cut the modules' paths at the least depth at which there are a few sections."""
    depths = max((module.count(".") for module in modules), default=0)
    sections: list[str] = []
    for depth in range(1, depths + 1):
        sections = [".".join(module.split(".")[:depth]) for module in modules]
        if len(list(groupby(sections))) >= _SECTIONS:
            return sections
    return sections or [""] * len(modules)


def _columns(spans: dict[int, Span]) -> dict[int, int]:
    """Give every lane the first column that is free on its rows, the longest lanes first.

    A lane stands to the right of those that run past it on both sides: a block's inner lanes to
    the right of the residual stream.
    """
    taken: list[list[Span]] = []
    columns: dict[int, int] = {}
    for group in sorted(spans, key=lambda group: (-spans[group].length, group)):
        span = spans[group]
        around = (columns[other] for other in columns if spans[other].contains(span))
        column = 1 + max(around, default=-1)
        while column < len(taken) and any(span.meets(other) for other in taken[column]):
            column += 1
        taken.extend([] for _ in range(len(taken), column + 1))
        taken[column].append(span)
        columns[group] = column
    return columns


def _colours(spans: dict[int, Span], columns: dict[int, int]) -> dict[int, int]:
    """Give lanes that lie near one another different colours."""
    colours: dict[int, int] = {}
    for turn, group in enumerate(spans):
        clash = [0.0] * COLOURS
        for other, colour in colours.items():
            rows = max(
                0, spans[group].first - spans[other].last, spans[other].first - spans[group].last
            )
            if rows <= 3:
                clash[colour] += 1 / (1 + abs(columns[group] - columns[other]) + rows)
        order = [(turn + step) % COLOURS for step in range(COLOURS)]
        colours[group] = min(order, key=clash.__getitem__)
    return colours
