"""What the commands print."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import PartialState
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lwdna.channels import ChannelGraph
from lwdna.methods import Search
from lwdna.reports import (
    COMPARISON_COLUMNS,
    compare_run,
    format_bytes,
    format_change,
    format_count,
    format_milliseconds,
    format_percent,
    format_seconds,
)

_FORMATS: dict[str, Callable[[float | None], str]] = {
    "top1": format_percent,
    "top5": format_percent,
    "macs": format_count,
    "params": format_count,
    "file_bytes": format_bytes,
    "latency_ms": format_milliseconds,
    "train_seconds": format_seconds,
}


def _console(stderr: bool = False) -> Console:
    """Return a console that is silent on all but the first of several processes."""
    return Console(stderr=stderr, soft_wrap=True, quiet=not PartialState().is_main_process)


def say(text: str) -> None:
    """Print one line."""
    _console().print(escape(text), highlight=False)


def error(text: str) -> None:
    """Print an error as one line on standard error."""
    line = " ".join(text.split())
    _console(stderr=True).print(f"[bold red]error:[/] {escape(line)}", highlight=False)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show that something is going on."""
    with _console(stderr=True).status(text):
        yield


def results(values: Mapping[str, Any]) -> None:
    """Print the figures of one network."""
    table = Table(show_header=False)
    for key, value in values.items():
        if key in _FORMATS:
            table.add_row(key, _FORMATS[key](value))
        elif isinstance(value, float):
            table.add_row(key, f"{value:.4g}")
    _console().print(table)


def comparison(job: Path) -> None:
    """Print baseline and network found side by side."""
    table = Table(*COMPARISON_COLUMNS)
    for row in compare_run(job):
        style = {True: "green", False: "red", None: ""}[row.better]
        table.add_row(*row.cells[:3], f"[{style}]{row.difference}[/]" if style else row.difference)
    _console().print(table)


def search(found: Search) -> None:
    """Print the widths found and what they cost."""
    graph, widths = found.graph, found.architecture.widths
    table = Table("group", "baseline", "found", "")
    for group in graph.groups:
        new = widths[group.name]
        table.add_row(
            escape(group.name), str(group.width), str(new), format_change(group.width, new)
        )
    _console().print(table)
    before, after = found.architecture.baseline, found.architecture.cost
    for what in ("macs", "params"):
        one, two = getattr(before, what), getattr(after, what)
        say(f"{what}: {format_count(one)} -> {format_count(two)} ({format_change(one, two)})")


def graph(channels: ChannelGraph, title: str) -> None:
    """Print the groups of a network and its cost."""
    table = Table("group", "width", "axes", "slices", title=escape(title))
    for group in channels.groups:
        table.add_row(
            escape(group.name),
            str(group.width),
            str(len(group.members)),
            "exact" if group.inexact is None else escape(f"not exact: {group.inexact}"),
        )
    _console().print(table)
    cost = channels.cost()
    say(
        f"{len(channels.groups)} groups; {format_count(cost.macs)} MACs, "
        f"{format_count(cost.params)} parameters"
    )
    if channels.unknown_ops:
        say("operators without a rule: " + ", ".join(channels.unknown_ops))


def free_folder(parent: Path, name: str) -> Path:
    """Return ``parent/name``, or ``parent/name-2`` and so on where that is taken."""
    candidate, count = parent / name, 1
    while candidate.exists():
        count += 1
        candidate = parent / f"{name}-{count}"
    return candidate
