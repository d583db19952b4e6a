"""Tables that the commands print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from lwdna.channels.graph.describe import macs_by_group
from lwdna.cli.output import console, say
from lwdna.files import read_json
from lwdna.input_size import InputSize, describe
from lwdna.reports.formats import (
    format_bytes,
    format_change,
    format_count,
    format_milliseconds,
    format_percent,
    format_trials,
)
from lwdna.run_folder import RESULTS
from lwdna.transforms.costs import costs_of_pairs

if TYPE_CHECKING:
    from lwdna.channels import ChannelGraph
    from lwdna.methods import Search
    from lwdna.reports.sensitivity import Analysis

_WORST = 5
"""Classes that are named."""

# What only some tables need is imported in their functions: `lwdna inspect` should start quickly.


def results(values: Mapping[str, Any]) -> None:
    """Print the figures of one network."""
    from lwdna.reports import figure_lines

    table = Table(show_header=False)
    for line in figure_lines(values):
        table.add_row(*map(escape, line))
    console().print(table)


def worst_classes(values: Mapping[str, Any]) -> None:
    """Print the classes that a network knows worst, of one that tells classes."""
    told = values.get("classes")
    if told is None:
        return
    table = _table("worst classes", "accuracy", "images")
    for one in told["worst"][:_WORST]:
        accuracy = format_percent(one["accuracy"], digits=1)
        table.add_row(escape(one["class"]), accuracy, str(one["examples"]))
    console().print(table)
    if told["confusions"]:
        most = told["confusions"][0]
        say(
            f"most often confused: {most['true']} is taken for {most['chosen']}, "
            f"{most['count']} times"
        )


def comparison(job: Path) -> None:
    """Print baseline and network found side by side."""
    from lwdna.reports import COMPARISON_COLUMNS, compare_run

    table = Table(*COMPARISON_COLUMNS)
    for row in compare_run(job):
        style = {True: "green", False: "red", None: ""}[row.better]
        table.add_row(*row.cells[:3], f"[{style}]{row.difference}[/]" if style else row.difference)
    console().print(table)


def answer(job: Path) -> None:
    """Print what one run of both networks says, what it cannot, and what to run next."""
    from lwdna.reports import answer_of

    told = answer_of(job)
    for note in told.notes:
        say(f"warning: {note}")
    say(f"{told.badge}: {told.headline}" if told.badge else told.headline)
    if told.command:
        say(f"to find out: {told.command}")
    if told.limits:
        say(told.limits)


def stages(record: Mapping[str, Any]) -> None:
    """Print what the stages of making a network smaller are worth."""
    from lwdna.reports import stage_lines

    heading, *lines = stage_lines(record)
    table = _table(*heading)
    for line in lines:
        table.add_row(*map(escape, line))
    console().print(table)


def study(folder: Path) -> None:
    """Print what the arms of a comparison reached, and what that proves."""
    from lwdna.reports import COMPARED, comparison_lines, little_to_gain

    results = read_json(folder / RESULTS)
    table = _table(*COMPARED)
    table.padding, table.columns[0].min_width = (0, 0, 0, 1), 8  # to fit 80 columns
    for line in comparison_lines(results):
        table.add_row(*map(escape, line))
    console().print(table)
    for verdict in results["halves"]["whole"]["verdicts"]:
        say(verdict)
    for arm, told in results["arms"].items():
        if told["search_trainings"]:
            how = "once" if told["searches"] == 1 else f"{told['searches']} times"
            say(f"the search of {arm} took {told['search_trainings']:g} trainings, {how}")
    said = little_to_gain(results["budget"])
    if said:
        say(said)
    for note in results["notes"]:
        say(f"warning: {note}")


def search(found: Search) -> None:
    """Print the widths found and what they cost."""
    from lwdna.reports import law_lines, little_to_gain

    graph, widths = found.graph, found.architecture.widths
    if found.trials:
        say(f"trials: {format_trials([trial.loss for trial in found.trials])}")
    elif found.network is None:
        say(
            "widths guessed from a few mini-batches; to learn them from short trainings, as much "
            "work as 8 whole ones: shrink.trials.count=16"
        )
    before, after = graph.cost(), graph.cost(widths)
    for line in law_lines(found.architecture.found, asdict(before), asdict(after)):
        say(line)
    table = _table("group", "baseline", "found", "")
    for group in graph.groups:
        new = widths[group.name]
        table.add_row(
            escape(group.name), str(group.width), str(new), format_change(group.width, new)
        )
    console().print(table)
    for what in ("macs", "params", "memory"):
        one, two = getattr(before, what), getattr(after, what)
        text = format_bytes if what == "memory" else format_count
        say(f"{what}: {text(one)} -> {text(two)} ({format_change(one, two)})")
    latency = found.architecture.found["usage"].get("latency")
    if latency is not None:
        one, two = latency["baseline"], latency["found"]
        said = f"{format_milliseconds(one)} -> {format_milliseconds(two)}"
        say(f"latency, from the times of operators: {said} ({format_change(one, two)})")
    note = little_to_gain(found.architecture.found["budget"])
    if note:
        say(note)


def sensitivity(found: Analysis) -> None:
    """Print what each group of a network can lose, those first that can lose most."""
    from lwdna.reports import (
        sensitivity_columns,
        sensitivity_evidence,
        sensitivity_lines,
        sensitivity_words,
    )

    table = _table(*sensitivity_columns(found))
    table.padding = (0, 0, 0, 1)  # to fit 80 columns
    for line in sensitivity_lines(found):
        table.add_row(*map(escape, line))
    console().print(table)
    say(sensitivity_words(found))
    say(sensitivity_evidence(found))


def milliseconds(value: float) -> str:
    """Return a latency as text."""
    return format_milliseconds(value)


def groups(channels: ChannelGraph, input_size: InputSize) -> None:
    """Print the groups of a network, their share of its MACs, what one unit costs, and pins."""
    table = _table("group", "width", "of\nMACs", "MACs\n/unit", "params\n/unit")
    cost = channels.cost()
    for line in group_lines(channels):
        table.add_row(
            escape(line["name"]),
            str(line["width"]),
            f"{line['macs'] / max(cost.macs, 1):.1%}",
            format_count(line["macs_per_unit"]),
            format_count(line["params_per_unit"]),
        )
    console().print(table)
    say("of MACs: of operators that depend on the group; one between two groups counts for both")
    say(
        f"{len(channels.groups)} groups; {format_count(cost.macs)} MACs for an input of "
        f"{describe(input_size)}, {format_count(cost.params)} parameters, "
        f"{format_bytes(cost.memory)} of activations at most"
    )
    _pairs(channels)
    for group in channels.groups:
        if group.inexact is not None:
            say(f"{group.name}: only the number of its units is free ({group.inexact})")
    reasons = Counter(why for pin in channels.pinned for why in {r.why: None for r in pin.reasons})
    if reasons:
        counts = (f"{count} ({why})" for why, count in reasons.items())
        say(f"pinned axes: {', '.join(counts)}; --details says which")
    if channels.unknown_ops:
        say("operators without a rule: " + ", ".join(channels.unknown_ops))


def _pairs(channels: ChannelGraph) -> None:
    """Say what pairs of convolutions need beside single ones, if there are any: often more."""
    costs = costs_of_pairs(channels)
    if costs:
        pairs, single = sum(one.macs for one in costs), sum(one.dense for one in costs)
        say(
            f"its {len(costs)} pairs of basis and mix need {format_count(pairs)} MACs; one "
            f"convolution in place of each {format_count(single)} ({format_change(single, pairs)})"
        )


def layers(channels: ChannelGraph) -> None:
    """Print what every module with MACs costs and its share of the network's MACs."""
    table = _table("layer", "MACs", "share", "params")
    total = channels.cost().macs
    for layer in (layer for layer in channels.layers() if layer.macs):
        table.add_row(
            escape(layer.name or "(the network itself)"),
            format_count(layer.macs),
            f"{layer.macs / total:.1%}",
            format_count(layer.params),
        )
    console().print(table)


def group_lines(channels: ChannelGraph) -> list[dict[str, Any]]:
    """Return name, width and cost of every group.

    ``macs`` are those of all operators that depend on it; the cost of one unit is what removing
    one saves.
    """
    if not channels.groups:
        return []
    widths = np.array([group.width for group in channels.groups])
    macs, params = channels.costs(np.vstack([widths, widths - np.eye(len(widths), dtype=int)]))
    touched, _ = macs_by_group(channels)
    return [
        {
            "name": group.name,
            "width": group.width,
            "macs": touched[i - 1],
            "macs_per_unit": int(macs[0] - macs[i]),
            "params_per_unit": int(params[0] - params[i]),
            "exact": group.exact,
        }
        for i, group in enumerate(channels.groups, start=1)
    ]


def _table(first: str, *numbers: str) -> Table:
    """Return a table of names, which fold on narrow terminals, and numbers, which stay whole."""
    table = Table()
    table.add_column(first, overflow="fold", min_width=12)
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    return table
