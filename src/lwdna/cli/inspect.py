"""``lwdna inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lwdna.cli.arguments import Cut, Json, Pin, Tie, Trust, complete_models
from lwdna.cli.output import say, working
from lwdna.files import json_text
from lwdna.input_size import InputSize, describe
from lwdna.run_options import RunOptions

if TYPE_CHECKING:
    from lwdna.channels import ChannelGraph

Size = Annotated[
    int | None, typer.Option(min=1, help="Side of the image in pixels.", show_default="224")
]
Channels = Annotated[
    int | None, typer.Option(min=1, help="Channels of the image.", show_default="3")
]


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            help="A network's name or an architecture file.", autocompletion=complete_models
        ),
    ],
    size: Size = None,
    channels: Channels = None,
    details: Annotated[
        bool, typer.Option("--details", help="Also members of groups, pins, cost per layer.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Draw it: a page to write.")
    ] = None,
    latency: Annotated[
        bool,
        typer.Option("--latency", help="Also its operators' times added; measured once, kept."),
    ] = False,
    pin: Pin = None,
    tie: Tie = None,
    cut: Cut = None,
    json_: Json = False,
    trust_code: Trust = False,
) -> None:
    """Show the groups of channels of a network, what they cost and what is pinned.

    Examples:

      lwdna inspect timm:resnet50

      lwdna inspect timm:resnet50 --html resnet50.html

      lwdna inspect lwdna:resnet56_cifar --size 32 --details

      lwdna inspect timm:resnet50 --pin 'layer1.*' --tie layer2.0.conv1=layer2.1.conv1

      lwdna inspect timm:mobilenetv2_100 --latency

      lwdna inspect runs/digits/search/architecture.lwdna.json
    """
    from lwdna.cli import options

    edits = options.read_edits(pin, tie, cut)
    options.check_network(model)
    from lwdna.workflows import trace_network

    trust = RunOptions(trust_code=trust_code)
    with working("tracing"):
        graph, shape = trace_network(
            model, size=size, channels=channels, edits=edits, options=trust
        )
    if html:
        _draw(graph, f"{model} ({describe(shape, times=' × ')})", html)
    milliseconds = _measure(graph) if latency else None
    if json_:
        _print_json(graph, shape, milliseconds)
        return
    _print_tables(graph, shape, milliseconds, details)
    if html:
        say(f"drawing: {html}")


def _draw(graph: ChannelGraph, title: str, file: Path) -> None:
    from lwdna.reports import write_graph_page

    write_graph_page(graph, title, file)


def _measure(graph: ChannelGraph) -> float:
    from lwdna.workflows import added_latency

    with working("measuring operators (once on this machine)"):
        return added_latency(graph)


def _print_json(graph: ChannelGraph, shape: InputSize, milliseconds: float | None) -> None:
    from lwdna.cli import show

    cost, groups = vars(graph.cost()), show.group_lines(graph)
    if milliseconds is not None:
        cost = {**cost, "latency": milliseconds}
    say(json_text({"input_size": shape, "cost": cost, "groups": groups}))


def _print_tables(
    graph: ChannelGraph, shape: InputSize, milliseconds: float | None, details: bool
) -> None:
    from lwdna.cli import show

    if details:
        say(graph.report())
        show.layers(graph)
    show.groups(graph, shape)
    if milliseconds is not None:
        say(f"latency: {show.milliseconds(milliseconds)}, the times of its operators added")
