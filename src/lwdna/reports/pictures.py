"""Pictures that trainings left of a few validation examples, side by side."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from lwdna.reports.run_files import TrainingRun

_NAME = re.compile(r"(.+)-(input|output|target)\.png")


@dataclass(frozen=True)
class Picture:
    """An image inside the page."""

    title: str
    address: str
    """A ``data:`` address, so that the page needs nothing from outside."""


@dataclass(frozen=True)
class PictureRow:
    """One example: input, what the networks made of it, and the truth, as far as they exist."""

    name: str
    pictures: list[Picture]


def picture_rows(baseline: TrainingRun | None, found: TrainingRun | None) -> list[PictureRow]:
    """Return the examples that at least one of the trainings shows, in the order of their names."""
    before, after = (_by_example(run) for run in (baseline, found))
    rows = []
    for name in sorted({*before, *after}):
        one, two = before.get(name, {}), after.get(name, {})
        either = one | two  # both show the same input and the same truth
        shown = {
            "input": either.get("input"),
            "baseline": one.get("output"),
            "LW-DNA": two.get("output"),
            "ground truth": either.get("target"),
        }
        pictures = [Picture(title, _address(data)) for title, data in shown.items() if data]
        rows.append(PictureRow(name, pictures))
    return rows


def _by_example(run: TrainingRun | None) -> dict[str, dict[str, bytes]]:
    examples: dict[str, dict[str, bytes]] = {}
    for file, content in (run.pictures if run is not None else {}).items():
        if match := _NAME.fullmatch(file):
            examples.setdefault(match[1], {})[match[2]] = content
    return examples


def _address(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
