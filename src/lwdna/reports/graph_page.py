"""Write the page of a channel graph: a drawing of the coupling, groups with members, pins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lwdna.channels.graph.describe import (
    MemberLine,
    PinLine,
    macs_by_group,
    member_lines,
    pin_lines,
)
from lwdna.channels.graph.graph import ChannelGraph
from lwdna.channels.graph.structure import Group
from lwdna.files import write_text
from lwdna.reports.formats import format_count, format_percent
from lwdna.reports.lanes import Drawing, Lane, Layer, draw
from lwdna.reports.pages import render

ROW = 22
"""Height of a layer's row in pixels; the style sheet uses the same."""

_MARGIN, _BOX = 12, 16
_NAMED = 6


@dataclass(frozen=True)
class LaneView:
    """The paths of a lane, in pixels."""

    group: int
    colour: int
    style: str
    title: str
    lane: str
    reads: str
    shared: str
    writes: str
    dots: str
    arrows: str


@dataclass(frozen=True)
class LayerView:
    """A layer's row and its box; ``colour`` is that of the group written, -1 for none."""

    name: str
    section: str
    opens: bool
    kind: str
    shape: str
    share: float
    share_text: str
    title: str
    groups: tuple[int, ...]
    colour: int
    y: int


@dataclass(frozen=True)
class Picture:
    """The drawing in pixels; ``bus`` joins the lanes that one layer reads together.

    ``top`` is the largest share of MACs of a layer.
    """

    width: int
    height: int
    box: int
    top: float
    bus: str
    lanes: list[LaneView]
    layers: list[LayerView]


@dataclass(frozen=True)
class GroupView:
    """A group with its members."""

    index: int
    name: str
    width: int
    colour: int
    macs: int
    share: float
    share_text: str
    layers: int
    inexact: str
    members: list[MemberLine]


def write_graph_page(graph: ChannelGraph, title: str, out: Path) -> Path:
    """Write a channel graph as one HTML file without outside parts.

    The same graph gives the same bytes.

    Args:
        graph: what :func:`lwdna.channels.trace` returned.
        title: the network's name.
        out: the file to write.

    Returns:
        The path of the page.

    Raises:
        FileError: the page cannot be written.
    """
    cost = graph.cost()
    touched, anything = macs_by_group(graph)
    total = max(cost.macs, 1)
    drawing = draw(graph)
    html = render(
        "graph.html.j2",
        styles=("report.css", "graph.css"),
        script="graph.js",
        title=title,
        macs=format_count(cost.macs),
        params=format_count(cost.params),
        covered=format_percent(100 * anything / total, digits=1),
        picture=_picture(graph, drawing, touched, total),
        row=ROW,
        groups=_group_views(graph, drawing, touched, total),
        inexact=any(not group.exact for group in graph.groups),
        undrawn=len(graph.groups) - len(drawing.lanes),
        pins=_pins(pin_lines(graph)),
        unknown=graph.unknown_ops,
        edits=list(graph.edits.lines()),
    )
    write_text(out, html)
    return Path(out)


def _picture(graph: ChannelGraph, drawing: Drawing, touched: Sequence[int], total: int) -> Picture:
    pitch = max(9, min(24, 340 // max(drawing.columns, 1)))
    box = _MARGIN + drawing.columns * pitch + 4
    colours = {lane.group: lane.colour for lane in drawing.lanes}
    places = {lane.group: _MARGIN + lane.column * pitch for lane in drawing.lanes}
    bus = [
        f"M{min(places[group] for group in layer.reads)} {_middle(row) - 4}H{box}"
        for row, layer in enumerate(drawing.layers)
        if len(layer.reads) > 1
    ]
    return Picture(
        width=box + _BOX + 2,
        height=len(drawing.layers) * ROW,
        box=box,
        top=max((layer.macs / total for layer in drawing.layers), default=0) or 1,
        bus="".join(bus),
        lanes=[
            _lane_view(graph, drawing, lane, places[lane.group], box, touched[lane.group] / total)
            for lane in drawing.lanes
        ],
        layers=[
            _layer_view(graph.groups, layer, row, colours, total)
            for row, layer in enumerate(drawing.layers)
        ],
    )


def _lane_view(
    graph: ChannelGraph, drawing: Drawing, lane: Lane, x: int, box: int, share: float
) -> LaneView:
    """Readers leave the lane above the middle of their row, writers enter below it."""
    group = graph.groups[lane.group]
    first = _middle(lane.first) + (4 if lane.first not in lane.readers else -4)
    last = _middle(lane.last) + (-4 if lane.last not in lane.writers else 4)
    alone = [row for row in lane.readers if len(drawing.layers[row].reads) == 1]
    joined = [row for row in lane.readers if len(drawing.layers[row].reads) > 1]
    return LaneView(
        group=lane.group,
        colour=lane.colour,
        style="lane" + " coupled" * lane.coupled + " inexact" * (not group.exact),
        title=_group_title(group, drawing, lane, share),
        lane=f"M{x} {first}V{max(last, first + 1)}",
        reads="".join(f"M{x} {_middle(row) - 4}H{box}" for row in alone),
        shared="".join(f"M{x} {_middle(row) - 4}H{box}" for row in joined),
        writes="".join(f"M{box} {_middle(row) + 4}H{x + 4}" for row in lane.writers),
        dots="".join(f"M{x} {_middle(row) - 4}h0" for row in lane.readers),
        arrows="".join(f"M{x + 1} {_middle(row) + 4}l7-3.5v7z" for row in lane.writers),
    )


def _middle(row: int) -> int:
    return row * ROW + ROW // 2


def _layer_view(
    groups: Sequence[Group], layer: Layer, row: int, colours: dict[int, int], total: int
) -> LayerView:
    section = layer.section + "." if layer.module.startswith(layer.section + ".") else ""
    share = layer.macs / total
    shape = " × ".join(str(size) for size in layer.shape)
    name = layer.module or "(network)"
    title = (
        f"{name}, {layer.kind}: reads {_names(groups, layer.reads)}; "
        f"writes {_names(groups, layer.writes)}; {format_count(layer.macs)} MACs"
    )
    return LayerView(
        name=name[len(section) :],
        section=section,
        opens=layer.opens,
        kind=layer.kind,
        shape=shape,
        share=share,
        share_text=_share_text(share),
        title=title,
        groups=tuple(dict.fromkeys([*layer.reads, *layer.writes])),
        colour=colours[layer.writes[0]] if layer.writes else -1,
        y=_middle(row) - 8,
    )


def _group_views(
    graph: ChannelGraph, drawing: Drawing, touched: Sequence[int], total: int
) -> list[GroupView]:
    lanes = {lane.group: lane for lane in drawing.lanes}
    views = []
    for index, group in enumerate(graph.groups):
        lane = lanes.get(index)
        views.append(
            GroupView(
                index=index,
                name=group.name,
                width=group.width,
                colour=lane.colour if lane else -1,
                macs=touched[index],
                share=touched[index] / total,
                share_text=_share_text(touched[index] / total),
                layers=len({*lane.writers, *lane.readers}) if lane else 0,
                inexact=str(group.inexact or ""),
                members=member_lines(graph, index),
            )
        )
    return views


def _pins(lines: Sequence[PinLine]) -> list[tuple[PinLine, str]]:
    return [(line, ", ".join(line.axes)) for line in lines]


def _group_title(group: Group, drawing: Drawing, lane: Lane, share: float) -> str:
    def modules(rows: Sequence[int]) -> str:
        names = [drawing.layers[row].module or "(network)" for row in rows]
        return _list(names) if names else "no layer"

    exact = "" if group.inexact is None else f"; slices are not exact: {group.inexact}"
    return (
        f"{group.name}: width {group.width}, {_share_text(share)} of the MACs; written by "
        f"{modules(lane.writers)}; read by {modules(lane.readers)}{exact}"
    )


def _names(groups: Sequence[Group], indices: Sequence[int]) -> str:
    if not indices:
        return "nothing that is free"
    return _list([f"{groups[index].name} ({groups[index].width})" for index in indices])


def _list(names: Sequence[str]) -> str:
    """Join names; of many only the first and the last."""
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[: _NAMED - 2])}, … {names[-1]} ({len(names)} in all)"


def _share_text(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.0005 else format_percent(100 * share, digits=1)
