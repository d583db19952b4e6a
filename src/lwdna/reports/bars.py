"""Geometry of the bar tables: widths per group and cost per layer, lengths between 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lwdna.reports.axes import Axis, Tick, axis_from_zero
from lwdna.reports.formats import format_change, format_count, format_tick
from lwdna.reports.records import ArchitectureRecord, GroupRecord, LayerRecord, Stages


@dataclass(frozen=True)
class Bar:
    """Lengths of the three bars of a row; ``widened`` is ``None`` where it is not known."""

    baseline: float
    found: float
    widened: float | None


@dataclass(frozen=True)
class GroupRow:
    """One group: its widths relative to the baseline's, and in channels."""

    name: str
    baseline: int
    found: int
    widened: int | None
    change: str
    ratio: float
    relative: Bar
    channels: Bar


@dataclass(frozen=True)
class GroupTable:
    """All groups, with the ticks of the two axes and how many changed which way."""

    rows: list[GroupRow]
    relative_ticks: list[Tick]
    channel_ticks: list[Tick]
    wider: int
    same: int
    narrower: int


@dataclass(frozen=True)
class CostCell:
    """One cost of one layer, before and after."""

    baseline: int
    found: int
    baseline_text: str
    found_text: str
    change: str
    bar: Bar


@dataclass(frozen=True)
class LayerRow:
    """MACs and parameters of one layer."""

    name: str
    op: str
    macs: CostCell
    params: CostCell


@dataclass(frozen=True)
class LayerTable:
    """All layers that a bar is worth, with the rest (normalisation and such) in the last row."""

    rows: list[LayerRow]
    macs_ticks: list[Tick]
    params_ticks: list[Tick]


def groups_between(
    baseline: ArchitectureRecord | None, found: ArchitectureRecord | None
) -> tuple[GroupRecord, ...]:
    """Return the groups that two architectures share, for a run without ``search.json``."""
    if baseline is None or found is None:
        return ()
    return tuple(
        GroupRecord(name=name, baseline=width, found=found.widths[name])
        for name, width in baseline.widths.items()
        if name in found.widths
    )


def group_table(groups: Sequence[GroupRecord]) -> GroupTable:
    """Lay out one row per group, in the order given (that of execution)."""
    relative = axis_from_zero(
        max(max(group.found, group.widened or 0) / max(group.baseline, 1) for group in groups)
    )
    channels = axis_from_zero(
        max(max(group.baseline, group.found, group.widened or 0) for group in groups)
    )
    rows = [_group_row(group, relative, channels) for group in groups]
    return GroupTable(
        rows=rows,
        relative_ticks=relative.ticks(lambda value: f"{100 * value:.0f} %", count=4),
        channel_ticks=channels.ticks(format_tick, count=4),
        wider=sum(group.found > group.baseline for group in groups),
        same=sum(group.found == group.baseline for group in groups),
        narrower=sum(group.found < group.baseline for group in groups),
    )


def layer_table(layers: Sequence[LayerRecord]) -> LayerTable:
    """Lay out one row per layer that multiplies, and one for the sum of all others."""
    shown = [layer for layer in layers if layer.macs.baseline or layer.macs.found]
    rest = [layer for layer in layers if not (layer.macs.baseline or layer.macs.found)]
    if rest:
        shown.append(_sum_of(rest))
    macs = axis_from_zero(max(max(layer.macs.baseline, layer.macs.found) for layer in shown))
    params = axis_from_zero(max(max(layer.params.baseline, layer.params.found) for layer in shown))
    rows = [
        LayerRow(layer.name, layer.op, _cost(layer.macs, macs), _cost(layer.params, params))
        for layer in shown
    ]
    return LayerTable(rows, macs.ticks(format_tick, count=3), params.ticks(format_tick, count=3))


def _group_row(group: GroupRecord, relative: Axis, channels: Axis) -> GroupRow:
    base = max(group.baseline, 1)
    return GroupRow(
        name=group.name,
        baseline=group.baseline,
        found=group.found,
        widened=group.widened,
        change=format_change(group.baseline, group.found, digits=0),
        ratio=group.found / base,
        relative=_bar(relative, 1.0, group.found / base, group.widened and group.widened / base),
        channels=_bar(channels, group.baseline, group.found, group.widened),
    )


def _bar(axis: Axis, baseline: float, found: float, widened: float | None) -> Bar:
    return Bar(
        baseline=axis.position(baseline),
        found=axis.position(found),
        widened=None if widened is None else axis.position(widened),
    )


def _cost(stages: Stages, axis: Axis) -> CostCell:
    return CostCell(
        baseline=stages.baseline,
        found=stages.found,
        baseline_text=format_count(stages.baseline),
        found_text=format_count(stages.found),
        change=format_change(stages.baseline, stages.found, digits=0),
        bar=_bar(axis, stages.baseline, stages.found, None),
    )


def _sum_of(layers: Sequence[LayerRecord]) -> LayerRecord:
    macs = Stages(baseline=0, found=0)
    params = Stages(
        baseline=sum(layer.params.baseline for layer in layers),
        found=sum(layer.params.found for layer in layers),
    )
    plural = "s" if len(layers) > 1 else ""
    return LayerRecord(name=f"{len(layers)} layer{plural} without MACs", macs=macs, params=params)
