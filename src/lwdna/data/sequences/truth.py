"""Read text files of boxes and of flags; a fault names the file and the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lwdna.data.sequences.sequence import Boxes
from lwdna.errors import DataError

_MAX_BYTES = 64 * 2**20
_MAX_VALUE = 1e5
"""Pixels; no frame is as wide, and squares of it are far from what overflows."""
_SEPARATORS = str.maketrans(",;\t", "   ")


def read_boxes(path: Path) -> Boxes:
    """Return the boxes of a file with one x, y, w, h per line, shape (n, 4).

    Commas, tabs and spaces separate the numbers; ``nan`` stands for what is not known.

    Raises:
        DataError: the file is missing or empty, or a line holds anything else.
    """
    lines = read_text(path).translate(_SEPARATORS).rstrip().splitlines()
    if not lines:
        raise DataError(f"{path} is empty; it should hold one box (x, y, width, height) per line")
    rows = np.empty((len(lines), 4))
    for number, line in enumerate(lines):
        try:
            x, y, width, height = map(float, line.split())
        except ValueError:
            raise _no_box(path, number, line) from None
        rows[number] = x, y, width, height
    wrong = np.flatnonzero((np.abs(rows) > _MAX_VALUE).any(axis=1))
    if len(wrong):
        raise _no_box(path, int(wrong[0]), lines[wrong[0]])
    return rows


def to_length(boxes: Boxes, count: int) -> Boxes:
    """Return the boxes of ``count`` frames: where only the first is given, the others are unknown.

    Test sets keep the others for their servers.
    """
    if len(boxes) != 1:
        return boxes
    return np.concatenate([boxes, np.full((count - 1, 4), np.nan)])


def read_numbers(path: Path, count: int) -> NDArray[np.float64]:
    """Return the numbers of a file, shape (count,), on one line or on many.

    Raises:
        DataError: the file is missing, or holds another number of them or anything else.
    """
    lines = read_text(path).translate(_SEPARATORS).splitlines()
    found: list[float] = []
    for number, line in enumerate(lines, 1):
        try:
            found += [float(word) for word in line.split()]
        except ValueError:
            raise DataError(
                f"line {number} of {path} is {_short(line)}; expected numbers only"
            ) from None
    if len(found) != count:
        raise DataError(
            f"{path} has {len(found)} numbers for {count} frames; restore it, or exclude the "
            "sequence"
        )
    return np.array(found, dtype=np.float64)


def read_text(path: Path) -> str:
    """Return what a small text file says.

    Raises:
        DataError: it is missing, too large or no text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; restore it") from error
    if len(content) > _MAX_BYTES:
        raise DataError(f"{path} is larger than {_MAX_BYTES >> 20} MiB; it cannot be what it seems")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8; restore it") from error


def _no_box(path: Path, number: int, line: str) -> DataError:
    return DataError(
        f"line {number + 1} of {path} is {_short(line)}; expected four numbers up to "
        f"{_MAX_VALUE:.0f}: x, y, width, height"
    )


def _short(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:60]}...")
