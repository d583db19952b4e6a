"""A channel graph in words: what belongs to a group, what it costs, what is pinned and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from lwdna.channels.algebra.layout import Reason
from lwdna.channels.graph.axes import AxisLayout
from lwdna.channels.graph.structure import Structure


@dataclass(frozen=True)
class MemberLine:
    """Tensors of one module of which the same axis holds a group in the same way.

    ``module`` is empty for a parameter of the network itself; ``layout`` says which entries of
    the axis are the group's: ``"all 64"``, ``"64 to 95 of 96"``.
    """

    module: str
    tensors: tuple[str, ...]
    axis: int
    layout: str

    @property
    def axes(self) -> str:
        """The tensors and their axis: ``"weight, bias axis 0"``."""
        return f"{', '.join(self.tensors)} axis {self.axis}"


@dataclass(frozen=True)
class PinLine:
    """Axes that are pinned for the same reason; ``axes`` are texts as ``"fc.weight axis 0"``."""

    reason: Reason
    axes: tuple[str, ...]


def macs_by_group(graph: Structure) -> tuple[list[int], int]:
    """Return what each group touches, and what any group touches, in MACs at the traced widths.

    A group touches the operators whose number of MACs depends on its width. An operator between
    two groups counts for both, so the figures of all groups add up to more than the total.
    """
    widths = graph.in_order(graph.widths)
    touched = [0] * len(graph.groups)
    anything = 0
    for term in (term for operator in graph.operators for term in operator.terms):
        macs, groups = term.at(widths), term.groups
        for group in groups:
            touched[group] += macs
        anything += macs if groups else 0
    return touched, anything


def member_lines(graph: Structure, group: int) -> list[MemberLine]:
    """Return the members of a group, one line per module, axis and layout, in order of modules."""
    found: dict[tuple[str, int, str], list[str]] = {}
    widths = graph.in_order(graph.widths)
    for tensor, axis in graph.groups[group].members:
        module, _, name = tensor.rpartition(".")
        layout = _entries(graph.tensors[tensor][axis], group, widths)
        found.setdefault((module, axis, layout), []).append(name)
    return [
        MemberLine(module, tuple(names), axis, layout)
        for (module, axis, layout), names in found.items()
    ]


def pin_lines(graph: Structure) -> list[PinLine]:
    """Return the pinned axes gathered by reason; an axis of several reasons stands under each."""
    found: dict[Reason, list[str]] = {}
    for pin in graph.pinned:
        for reason in dict.fromkeys(pin.reasons):
            found.setdefault(reason, []).append(f"{pin.tensor} axis {pin.axis} ({pin.size})")
    return [PinLine(reason, tuple(axes)) for reason, axes in found.items()]


def report(graph: Structure) -> str:
    """Return the text of :meth:`ChannelGraph.report`."""
    return "\n".join(_lines(graph))


def _lines(graph: Structure) -> Iterator[str]:
    widths = graph.in_order(graph.widths)
    macs = sum(term.at(widths) for operator in graph.operators for term in operator.terms)
    params = sum(
        prod(axis.length(widths) for axis in graph.tensors[name]) for name in graph.parameters
    )
    touched, anything = macs_by_group(graph)
    total = max(macs, 1)
    plural = "s" if len(graph.groups) != 1 else ""
    yield (
        f"{len(graph.groups)} group{plural}, {macs:,} MACs, {params:,} parameters; "
        f"{anything / total:.1%} of the MACs depend on the width of a group"
    )
    yield "share of MACs: of operators that depend on the group; one between two counts for both"
    for index, group in enumerate(graph.groups):
        yield ""
        yield f"{group.name}: width {group.width}, {_share(touched[index] / total)} of the MACs"
        if group.inexact is not None:
            yield f"    slices are not exact: {group.inexact}"
        yield from _columns(
            [(line.module or "(network)", line.axes, line.layout)
             for line in member_lines(graph, index)]
        )  # fmt: skip
    if graph.pinned:
        yield ""
        yield "pinned:"
        for pin in pin_lines(graph):
            yield f"    {pin.reason}:"
            yield from (f"        {axis}" for axis in pin.axes)
    if graph.edits:
        yield ""
        yield "by hand:"
        yield from (f"    {line}" for line in graph.edits.lines())
    if graph.unknown_ops:
        yield ""
        yield "operators without a rule: " + ", ".join(graph.unknown_ops)


def _share(share: float) -> str:
    return "< 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def _columns(rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    first = max((len(row[0]) for row in rows), default=0)
    second = max((len(row[1]) for row in rows), default=0)
    for module, axes, layout in rows:
        yield f"    {module:{first}}  {axes:{second}}  {layout}"


def _entries(axis: AxisLayout, group: int, widths: Sequence[int]) -> str:
    """Say which entries of an axis, counted from 0, are the group's."""
    total = axis.length(widths)
    runs = []
    for part, start, end in axis.runs(widths):
        if part.group == group:
            where = f"all {total}" if end - start == total else f"{start} to {end - 1}"
            runs.append(where + _pattern(part.outer, widths[group], part.inner))
    text = " and ".join(runs)
    return text if text.startswith("all") else f"{text} of {total}"


def _pattern(outer: int, width: int, inner: int) -> str:
    """Say how the units lie within a run where that is not simply one after the other."""
    if outer == inner == 1:
        return ""
    units = f"{width} units" + (f" of {inner} neighbours each" if inner > 1 else "")
    return f" ({outer} times {units})" if outer > 1 else f" ({units})"
