"""Turn recorded layouts into plain data: name the groups, write every axis in terms of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lwdna.channels.algebra.layout import Layout, Segment, Unit, reasons_of, resolve, units_of
from lwdna.channels.graph.graph import (
    Activation,
    Attribute,
    AxisLayout,
    ChannelGraph,
    Group,
    Member,
    Operation,
    Part,
    Pinned,
)
from lwdna.channels.graph.operators import OperatorCall, TensorForm
from lwdna.channels.rules.call import Axes
from lwdna.channels.tracing.record import Record
from lwdna.channels.tracing.session import Session


@dataclass(frozen=True)
class Step:
    """A recorded operator in terms of groups, to compare a second run with."""

    op: str
    module: str
    inputs: tuple[tuple[AxisLayout, ...], ...]
    outputs: tuple[tuple[AxisLayout, ...], ...]

    @property
    def groups(self) -> set[int]:
        """Groups that play a part in this operator."""
        return {
            part.group
            for axes in (*self.inputs, *self.outputs)
            for axis in axes
            for part in axis
            if part.group >= 0
        }


@dataclass(frozen=True)
class Follower:
    """An attribute that follows an axis, as long as the groups may still change."""

    module: str
    name: str
    index: int | None
    layout: Layout


@dataclass(frozen=True)
class Draft:
    """A channel graph that still has to be proved."""

    graph: ChannelGraph
    units: list[Unit]
    steps: dict[bool, list[Step]]

    def layout(self, axis: AxisLayout) -> Layout:
        """Return an axis in terms of the units again."""
        return tuple(
            Segment(outer, None if group < 0 else self.units[group], inner)
            for outer, group, inner in axis
        )


class _Writer:
    """Writes axes in terms of groups."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.index = {unit: position for position, unit in enumerate(units)}
        self._written: dict[int, AxisLayout] = {}  # by identity: operators share tensors' layouts

    def axis(self, layout: Layout) -> AxisLayout:
        if id(layout) not in self._written:
            self._written[id(layout)] = write(layout, self.index)
        return self._written[id(layout)]

    def axes(self, layouts: Iterable[Layout]) -> tuple[AxisLayout, ...]:
        return tuple(self.axis(layout) for layout in layouts)

    def many(self, tensors: Iterable[Axes]) -> tuple[tuple[AxisLayout, ...], ...]:
        return tuple(self.axes(layouts) for layouts in tensors)


def freeze(session: Session, followers: Sequence[Follower]) -> Draft:
    """Name the free units that parameters depend on and express everything through them."""
    parameters = {name for name, _ in session.skeleton.named_parameters()}
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
        else tuple((Part(1, -1, size),) for size in _shape(axes))
        for name, axes in session.axes.items()
    }
    inference = session.passes[False]
    feeding = _feeding_output(inference)
    graph = ChannelGraph(
        groups=tuple(
            Group(names[unit], unit.size, tuple(group), unit.inexact, unit in feeding)
            for unit, group in zip(units, _members(tensors, len(units)), strict=True)
        ),
        tensors=tensors,
        parameters=tuple(name for name in tensors if name in parameters),
        operations=_operations(inference, writer),
        activations=_activations(session, writer),
        calls=_calls(inference, writer),
        pinned=_pinned(session, [name for name in tensors if name in live & parameters]),
        attributes=tuple(
            Attribute(f.module, f.name, f.index, writer.axis(f.layout))
            for f in followers
            if any(part.group >= 0 for part in writer.axis(f.layout))
        ),
        unknown_ops=tuple(session.unknown),
        remade=tuple(session.remade),
    )
    steps = {
        mode: [
            Step(record.op, record.module, writer.many(record.inputs), writer.many(record.outputs))
            for record in part
        ]
        for mode, part in session.passes.items()
    }
    return Draft(graph, units, steps)


def write(layout: Layout, index: Mapping[Unit, int]) -> AxisLayout:
    """Return an axis in terms of groups, given their positions by unit."""
    return tuple(
        Part(1, -1, part.size)
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
            for group in dict.fromkeys(part.group for part in layout if part.group >= 0):
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


def _operations(records: Sequence[Record], writer: _Writer) -> tuple[Operation, ...]:
    return tuple(
        Operation(
            record.op,
            record.module,
            term.count,
            writer.axes(term.layouts),
            writer.axes(record.produced),
        )
        for record in records
        for term in record.terms
    )


def _activations(session: Session, writer: _Writer) -> tuple[Activation, ...]:
    return tuple(
        Activation(
            writer.axes(one.axes),
            one.itemsize,
            one.first,
            session.operators if one.last is None else one.last,
        )
        for one in session.stored
    )


def _calls(records: Sequence[Record], writer: _Writer) -> tuple[OperatorCall, ...]:
    return tuple(
        OperatorCall(
            str(record.function),
            record.module,
            tuple(
                TensorForm(writer.axes(axes), *memory)
                for axes, memory in zip(record.inputs, record.memory, strict=True)
            ),
            record.arguments,
        )
        for record in records
    )


def _pinned(session: Session, names: Sequence[str]) -> tuple[Pinned, ...]:
    found = []
    for name in names:
        for axis, layout in enumerate(session.axes[name]):
            reasons = tuple(reason for reason in reasons_of(layout) if reason.why != "kernel")
            if reasons:
                found.append(Pinned(name, axis, sum(part.size for part in layout), reasons))
    return tuple(found)


def _shape(axes: Axes) -> list[int]:
    return [sum(part.size for part in layout) for layout in axes]
