"""Pictures that trainings left of a few validation examples, side by side."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lwdna.engine.task import Metric
from lwdna.reports.formats import format_metric
from lwdna.reports.records import ExampleFigures

_NAME = re.compile(r"(.+)-(input|output|target)\.png")


@dataclass(frozen=True)
class Picture:
    """An image inside the page."""

    title: str
    address: str
    """A ``data:`` address, so that the page needs nothing from outside."""
    figure: str = ""
    """How good it is, as a text; may be empty."""
    worse: bool = False
    """Whether it is worse than the input."""


@dataclass(frozen=True)
class PictureRow:
    """One example: input, what the networks made of it, and the truth, as far as they exist."""

    name: str
    pictures: list[Picture]


@dataclass(frozen=True)
class Shown:
    """What a training left of a few examples."""

    files: Mapping[str, bytes]
    """``NAME-input.png``, ``NAME-output.png`` and ``NAME-target.png`` by name."""
    figures: ExampleFigures | None = None


def picture_rows(networks: Mapping[str, Shown], *, truth_first: bool = False) -> list[PictureRow]:
    """Return the examples that at least one network shows, in the order of their names.

    Args:
        networks: what each left, by what the network is called.
        truth_first: whether the truth stands before the networks' outputs.
    """
    shown = {title: _by_example(one.files) for title, one in networks.items()}
    rows = []
    for name in sorted({name for examples in shown.values() for name in examples}):
        either: dict[str, bytes] = {}  # all show the same input and the same truth
        for examples in shown.values():
            either |= examples.get(name, {})
        given = next(filter(None, (_figure(one, name, "input") for one in networks.values())), None)
        truth = [_picture("ground truth", either.get("target"))]
        outputs = [
            _picture(
                title,
                shown[title].get(name, {}).get("output"),
                _figure(one, name, "output"),
                given,
            )
            for title, one in networks.items()
        ]
        row = [_picture("input", either.get("input"), given), *(truth if truth_first else ())]
        row += [*outputs, *(() if truth_first else truth)]
        rows.append(PictureRow(name, [picture for picture in row if picture is not None]))
    return rows


_Figure = tuple[Metric, float]


def _figure(one: Shown, name: str, kind: str) -> _Figure | None:
    if one.figures is None:
        return None
    value = one.figures.examples.get(name, {}).get(kind)
    return None if value is None else (one.figures.metric, value)


def _picture(
    title: str, content: bytes | None, figure: _Figure | None = None, given: _Figure | None = None
) -> Picture | None:
    if content is None:
        return None
    if figure is None:
        return Picture(title, address(content))
    metric, value = figure
    worse = given is not None and metric.better(given[1], value)
    return Picture(title, address(content), format_metric(value, metric), worse)


def _by_example(files: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    examples: dict[str, dict[str, bytes]] = {}
    for file, content in files.items():
        if match := _NAME.fullmatch(file):
            examples.setdefault(match[1], {})[match[2]] = content
    return examples


def address(content: bytes) -> str:
    """Return the ``data:`` address of a PNG file."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
