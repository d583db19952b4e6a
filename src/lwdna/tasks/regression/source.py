"""A table of values: ``labels.csv`` with a file and numbers in each row."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lwdna.data.images import FolderImages, ImageSet, as_names
from lwdna.data.listing import list_images
from lwdna.data.sources import ImageSource, scanned
from lwdna.data.split import split_off
from lwdna.data.table import FILE, SPLIT, TABLE, TableFiles, divided, first_of, read_table
from lwdna.engine.fingerprint import Stored
from lwdna.errors import DataError, nearest
from lwdna.tasks.regression.settings import RegressionSettings

Values = NDArray[np.float64]
"""What is to be learnt of every image, shape (N, K)."""


@dataclass(frozen=True)
class Half:
    """Images with values; the labels of the images are their numbers."""

    images: FolderImages
    values: Values

    def stored(self) -> Stored:
        """Return how they lie on disk, for a fingerprint: other values are other data."""
        stored = self.images.stored()
        sizes = stored.sizes
        assert sizes is not None  # files have sizes

        def checksum(place: int, size: int) -> int:
            return zlib.crc32(self.values[place].tobytes(), size & 0xFFFFFFFF)

        return replace(
            stored,
            labels=np.zeros_like(stored.labels),
            sizes=lambda places: list(map(checksum, places, sizes(places))),
        )


@dataclass(frozen=True)
class ValueSource:
    """A data set as found."""

    columns: tuple[str, ...]
    train: Half
    val: Half
    notes: tuple[str, ...]
    summary: str
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    file: str
    split: str
    values: tuple[float, ...]


def open_values(settings: RegressionSettings) -> ValueSource:
    """Read the table, list the images that it names and look at their files.

    Raises:
        DataError: there is no table, it has no such columns or values that are no numbers, or files
            are missing or cannot be decoded.
    """
    root = settings.root
    if isinstance(root, str):
        raise DataError(
            f"values to learn are read from folders of this machine, not from {root}; copy it here"
        )
    if root is None or not (root / TABLE).is_file():
        raise DataError(
            f"there is no {TABLE} in {root or 'data.root, which is missing'}; give a folder of "
            f"images with a {TABLE} that has columns file, one or more of numbers, and perhaps "
            "split"
        )
    path = root / TABLE
    columns, rows, notes = _rows(path, settings.targets, TableFiles(list_images(root).images, path))
    learnt, judged = divided(path, rows, notes)
    train: ImageSet = _images(root, learnt)
    if judged is not None:
        val: ImageSet = _images(root, judged)
    else:
        train, val = split_off(train, settings.split, settings.split_seed, root)
        notes.append(
            f"{root} has no validation set: {settings.split:g} of its images, {len(val.labels)} of "
            f"{len(rows)}, were set aside for it (data.split={settings.split:g}, "
            f"data.split_seed={settings.split_seed})"
        )
    halves = train, val
    limits = settings.train_limit, settings.val_limit
    train, val = (
        half.take(np.arange(len(half.labels))[:limit], half.labels[:limit])
        for half, limit in zip(halves, limits, strict=True)
    )
    about = f"{'value' if len(columns) == 1 else 'values'} {', '.join(columns)}"
    found = scanned(ImageSource("csv", 1, ("",), train, val, tuple(notes), about=about), settings)
    values = {row.file: row.values for row in rows}
    return ValueSource(
        columns,
        _half(found.train, values),
        _half(found.val, values),
        tuple(filter(None, found.notes)),
        found.summary,
        found.left_out,
    )


def _rows(
    path: Path, wanted: Sequence[str] | None, files: TableFiles
) -> tuple[tuple[str, ...], list[_Row], list[str]]:
    """Return the columns that hold values, the rows that have all of them, and notes.

    Raises:
        DataError: see :func:`open_values`.
    """
    table = read_table(path)
    head = [cell.strip() for cell in table[0]] if table else []
    named = [cell.lower().replace(" ", "_") for cell in head]
    file, split = first_of(named, FILE), first_of(named, SPLIT)
    if file is None:
        raise DataError(
            f"{path} has the columns {', '.join(head) or '(none)'}; one must be called file (or "
            f"{', '.join(FILE[1:4])}, ...)"
        )
    lines = [[cell.strip() for cell in cells] for cells in table[1:]]
    others = [place for place in range(len(head)) if place not in (file, split)]
    chosen = _columns(path, head, lines, others, wanted)
    rows: dict[str, _Row] = {}
    empty = 0
    for line, cells in enumerate(lines, start=2):
        cells += [""] * (len(head) - len(cells))
        if not cells[file] or not all(cells[place] for place in chosen):
            empty += any(cells)
            continue
        values = tuple(_number(cells[place], head[place], line, path) for place in chosen)
        half = "" if split is None else cells[split].lower()
        row = _Row(files.find(cells[file], line), half, values)
        if rows.setdefault(row.file, row) != row:
            raise DataError(
                f"line {line} of {path} names {cells[file]} again, with other values or another "
                "split; keep one"
            )
    if not rows:
        raise DataError(f"{path} has no rows with a file and values; fill some in")
    notes = [f"left out {empty} rows of {path} without a file or a value"] if empty else []
    unused = [head[place] for place in others if place not in chosen]
    if unused and wanted is None:
        notes.append(f"the columns {', '.join(unused)} of {path} hold no numbers and are left out")
    return tuple(head[place] for place in chosen), list(rows.values()), notes


def _columns(
    path: Path,
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    others: Sequence[int],
    wanted: Sequence[str] | None,
) -> list[int]:
    """Return the places of the columns that hold the values.

    Raises:
        DataError: there are none, or none of a name that is asked for.
    """
    if wanted is not None:
        known = [head[place] for place in others]
        for name in wanted:
            if name not in known:
                raise DataError(
                    f"data.targets names no column of {path}: {name}"
                    f"{nearest(name, known) or f'; there are {chr(44).join(known)}'}"
                )
        return [head.index(name) for name in wanted]
    chosen = [
        place
        for place in others
        if (cells := [line[place] for line in lines if place < len(line) and line[place]])
        and all(map(_is_number, cells))
    ]
    if not chosen:
        raise DataError(
            f"{path} has no column of numbers beside the files; add one, or learn classes "
            "(task=classification)"
        )
    return chosen


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _number(text: str, column: str, line: int, path: Path) -> float:
    if not _is_number(text):
        raise DataError(
            f"line {line} of {path} has the {column} {text!r}, which is no finite number; correct "
            "it, or leave it empty to leave the image out"
        )
    return float(text)


def _images(root: Path, rows: Sequence[_Row]) -> FolderImages:
    names = sorted(row.file for row in rows)
    return FolderImages(root, as_names(names), np.zeros(len(names), dtype=np.int64))


def _half(images: object, values: dict[str, tuple[float, ...]]) -> Half:
    assert isinstance(images, FolderImages)  # a look at files leaves them what they are
    names = [os.fsdecode(bytes(name)) for name in images.names]
    numbers = np.arange(len(names))
    return Half(images.take(numbers, numbers), np.array([values[name] for name in names]))
