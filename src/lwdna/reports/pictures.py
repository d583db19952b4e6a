"""Pictures that trainings left of a few validation examples, side by side."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

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


def picture_rows(
    networks: Mapping[str, Mapping[str, bytes]], *, truth_first: bool = False
) -> list[PictureRow]:
    """Return the examples that at least one network shows, in the order of their names.

    Args:
        networks: files by name, ``NAME-input.png``, ``NAME-output.png`` and ``NAME-target.png``, by
            what the network is called.
        truth_first: whether the truth stands before the networks' outputs.
    """
    shown = {title: _by_example(files) for title, files in networks.items()}
    rows = []
    for name in sorted({name for examples in shown.values() for name in examples}):
        either: dict[str, bytes] = {}  # all show the same input and the same truth
        for examples in shown.values():
            either |= examples.get(name, {})
        truth = [("ground truth", either.get("target"))]
        outputs = [
            (title, examples.get(name, {}).get("output")) for title, examples in shown.items()
        ]
        row = [("input", either.get("input")), *(truth if truth_first else ()), *outputs]
        row += [] if truth_first else truth
        pictures = [Picture(title, _address(data)) for title, data in row if data]
        rows.append(PictureRow(name, pictures))
    return rows


def _by_example(files: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    examples: dict[str, dict[str, bytes]] = {}
    for file, content in files.items():
        if match := _NAME.fullmatch(file):
            examples.setdefault(match[1], {})[match[2]] = content
    return examples


def _address(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
