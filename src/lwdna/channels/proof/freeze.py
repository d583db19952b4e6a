"""Turn recorded layouts into plain data: name the groups, write every axis in terms of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lwdna.channels.algebra.layout import (
    Layout,
    Segment,
    Unit,
    reasons_of,
    resolve,
    size_of,
    units_of,
)
from lwdna.channels.graph.axes import AxisLayout, Part
from lwdna.channels.graph.cost import Activation
from lwdna.channels.graph.graph import ChannelGraph
from lwdna.channels.graph.operators import MacTerm, Operator, TensorForm
from lwdna.channels.graph.structure import Attribute, Group, Member, Pinned
from lwdna.channels.tracing.integers import Follower
from lwdna.channels.tracing.record import Record
from lwdna.channels.tracing.session import Session


@dataclass(frozen=True)
class Draft:
    """A channel graph that still has to be proved."""

    graph: ChannelGraph
    units: list[Unit]
    """The unit variable of each group."""
    operators: dict[bool, tuple[Operator, ...]]
    """By mode, as they were recorded: what a second run is compared with."""

    def layout(self, axis: AxisLayout) -> Layout:
        """Return an axis in terms of the units again."""
        return tuple(
            Segment(outer, None if group is None else self.units[group], inner)
            for outer, group, inner in axis.parts
        )


class _Writer:
    """Writes axes in terms of groups; equal axes become one object."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.index = {unit: position for position, unit in enumerate(units)}
        self._written: dict[int, AxisLayout] = {}  # by identity: operators share tensors' layouts
        self._known: dict[tuple[Part, ...], AxisLayout] = {}

    def axis(self, layout: Layout) -> AxisLayout:
        found = self._written.get(id(layout))
        if found is None:
            parts = _parts(layout, self.index)
            found = self._known.get(parts)
            if found is None:
                found = self._known[parts] = AxisLayout(parts)
            self._written[id(layout)] = found
        return found

    def axes(self, layouts: Iterable[Layout]) -> tuple[AxisLayout, ...]:
        return tuple(self.axis(layout) for layout in layouts)

    def operator(self, record: Record) -> Operator:
        return Operator(
            record.full_name,
            record.module,
            tuple(
                TensorForm(self.axes(axes), *memory)
                for axes, memory in zip(record.inputs, record.memory, strict=True)
            ),
            tuple(self.axes(axes) for axes in record.outputs),
            record.arguments,
            tuple(MacTerm(term.count, self.axes(term.layouts)) for term in record.terms),
            self.axes(record.produced),
        )


def freeze(session: Session, followers: Sequence[Follower]) -> Draft:
    """Name the free units that parameters depend on and express everything through them."""
    parameters = session.parameters
    live = {name for name in session.axes if name in session.touched}
    owned = {
        unit
        for name in live & parameters
        for layout in session.axes[name]
        for unit in units_of(layout)
    }
    records = [record for part in session.passes.values() for record in part]
    names = _names(records, owned, session)
    units = list(names)
    writer = _Writer(units)
    tensors = {
        name: writer.axes(axes)
        if name in live
        else tuple(AxisLayout.fixed(size_of(layout)) for layout in axes)
        for name, axes in session.axes.items()
    }
    operators = {mode: tuple(map(writer.operator, part)) for mode, part in session.passes.items()}
    feeding = _feeding_output(session.passes[False])
    graph = ChannelGraph(
        groups=tuple(
            Group(names[unit], unit.size, tuple(group), unit.inexact, unit in feeding)
            for unit, group in zip(units, _members(tensors, len(units)), strict=True)
        ),
        tensors=tensors,
        parameters=tuple(name for name in tensors if name in parameters),
        operators=operators[False],
        activations=_activations(session, writer),
        pinned=_pinned(session, [name for name in tensors if name in live & parameters]),
        attributes=tuple(
            Attribute(f.module, f.name, f.index, writer.axis(f.layout))
            for f in followers
            if not writer.axis(f.layout).is_fixed
        ),
        unknown_ops=tuple(session.unknown),
        remade=tuple(session.remade),
        caches=tuple(session.caches),
    )
    return Draft(graph, units, operators)


def write(layout: Layout, index: Mapping[Unit, int]) -> AxisLayout:
    """Return an axis in terms of groups, given their positions by unit."""
    return AxisLayout(_parts(layout, index))


def _parts(layout: Layout, index: Mapping[Unit, int]) -> tuple[Part, ...]:
    return tuple(
        Part(1, None, part.size)
        if part.unit is None or part.unit not in index
        else Part(part.outer, index[part.unit], part.inner)
        for part in resolve(layout)
    )


def _names(records: Sequence[Record], owned: set[Unit], session: Session) -> dict[Unit, str]:
    """Name each unit after the first module that produces it, in execution order."""
    names: dict[Unit, str] = {}
    taken: dict[str, int] = {}

    def give(unit: Unit, module: str) -> None:
        if unit in owned and unit not in names:
            taken[module] = taken.get(module, 0) + 1
            name = module if taken[module] == 1 else f"{module}#{taken[module]}"
            names[unit] = session.names.get(unit, name)

    for record in records:
        for layout in record.produced:
            for unit in units_of(layout):
                give(unit, record.module or record.op)
    for tensor, layouts in session.axes.items():
        for layout in layouts:
            for unit in units_of(layout):
                give(unit, tensor)
    return names


def _members(tensors: dict[str, tuple[AxisLayout, ...]], groups: int) -> list[list[Member]]:
    """Return the axes of parameters and buffers that depend on each group."""
    members: list[list[Member]] = [[] for _ in range(groups)]
    for name, axes in tensors.items():
        for axis, layout in enumerate(axes):
            for group in layout.groups:
                members[group].append(Member(name, axis))
    return members


def _feeding_output(records: Sequence[Record]) -> set[Unit]:
    """Return the units read by operators whose results are the network's outputs."""
    return {
        unit
        for record in records
        if any(r.why == "network output" for layout in record.produced for r in reasons_of(layout))
        for axes in record.inputs
        for layout in axes
        for unit in units_of(layout)
    }


def _activations(session: Session, writer: _Writer) -> tuple[Activation, ...]:
    return tuple(
        Activation(
            writer.axes(one.axes),
            one.itemsize,
            one.first,
            session.last_operator if one.last is None else one.last,
        )
        for one in session.stored
    )


def _pinned(session: Session, names: Sequence[str]) -> tuple[Pinned, ...]:
    found = []
    for name in names:
        for axis, layout in enumerate(session.axes[name]):
            reasons = tuple(reason for reason in reasons_of(layout) if reason.why != "kernel")
            if reasons:
                found.append(Pinned(name, axis, size_of(layout), reasons))
    return tuple(found)
