"""A table of labels: ``labels.csv`` with a file and a label in each row, images anywhere below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lwdna.data.data_format import DataFormat, Half, register_format
from lwdna.data.formats.folder import TRAIN, VAL
from lwdna.data.images import FolderImages, ListedHalf, as_names
from lwdna.data.listing import list_images, unread_note
from lwdna.data.table import FILE, SPLIT, TABLE, TableFiles, divided, first_of, read_table
from lwdna.errors import DataError

_LABEL = ("label", "labels", "class", "class_name", "classname", "category", "target", "species",
          "breed", "y")  # fmt: skip
"""What the column of labels is called, in small letters; of several the first counts."""


@register_format("csv")
class LabelsTable(DataFormat):
    """``labels.csv`` with a column of files, one of labels and perhaps one that says the half.

    Files go by their path below the root; the folder, or the ending, may be missing where only one
    image is called so. Nothing outside of the root is read.
    """

    layout = f"{TABLE} with columns file and label (and split)"
    supersedes = ("folder",)

    def detect(self, root: Path) -> bool:
        return (root / TABLE).is_file()

    def open(self, root: Path) -> tuple[Half, Half | None]:
        path = root / TABLE
        listed = list_images(root)
        files = TableFiles(listed.images, path)
        rows, notes = _rows(path, files)
        halves = divided(path, rows, notes)
        unnamed = len(set(listed.images) - {row.file for row in rows})
        if unnamed:
            notes.append(
                f"left out {unnamed} of the images below {root} that {TABLE} does not name"
            )
        notes.append(unread_note(root, listed.unread))
        classes = _sorted({row.label for half in halves for row in half or ()})
        if len(classes) == len(rows) > 2:
            raise DataError(
                f"every row of {path} has a label of its own, so that there are no classes to "
                "learn; values are learnt with task=regression"
            )
        train, val = halves
        first = _half(root, train, classes, notes)
        return first, _half(root, val, classes) if val else None


@dataclass(frozen=True)
class _Row:
    file: str
    split: str
    label: str


@dataclass(frozen=True)
class _TableHalf(ListedHalf):
    remarks: tuple[str, ...] = ()

    def notes(self) -> tuple[str, ...]:
        return self.remarks


def _rows(path: Path, files: TableFiles) -> tuple[list[_Row], list[str]]:
    """Return the rows that have a label, each file once, and notes.

    Raises:
        DataError: the table cannot be read, or names a file twice with different labels.
    """
    table = read_table(path)
    columns, first = _columns(path, table, files)
    rows: dict[str, _Row] = {}
    empty = 0
    for line, cells in enumerate(table[first:], start=first + 1):
        values = [cells[n].strip() if n is not None and n < len(cells) else "" for n in columns]
        name, label, split = values
        if not name or not label:
            empty += any(cell.strip() for cell in cells)
            continue
        row = _Row(files.find(name, line), split.lower(), label)
        if rows.setdefault(row.file, row) != row:
            raise DataError(
                f"line {line} of {path} names {name} again, with another label or split; keep one"
            )
    if not rows:
        raise DataError(
            f"{path} has no rows with a file and a label; expected {LabelsTable.layout}"
        )
    notes = [f"left out {empty} rows of {path} without a file or a label"] if empty else []
    return list(rows.values()), notes


def _columns(
    path: Path, table: Sequence[Sequence[str]], files: TableFiles
) -> tuple[tuple[int, int, int | None], int]:
    """Return which columns hold file, label and half, and the number of the first row.

    Raises:
        DataError: the headers are unknown.
    """
    head = [cell.strip() for cell in table[0]] if table else []
    named = [cell.lower().replace(" ", "_") for cell in head]
    file, label, split = (first_of(named, names) for names in (FILE, _LABEL, SPLIT))
    if file is not None and label is not None:
        return (file, label, split), 1
    given = [place for place, cell in enumerate(head) if files.holds(cell)]
    if len(given) == 1 and len(head) in (2, 3):  # no headers
        others = [place for place in range(len(head)) if place != given[0]]
        halves = [place for place in others if head[place].lower() in (*TRAIN, *VAL)]
        half = halves[0] if len(others) == 2 and len(halves) == 1 else None
        if len(others) == 1 or half is not None:
            return (given[0], next(place for place in others if place != half), half), 0
    raise DataError(
        f"{path} has the columns {', '.join(head) or '(none)'}; one must be called file (or "
        f"{', '.join(FILE[1:4])}, ...), one label (or {', '.join(_LABEL[2:6])}, ...); "
        "numbers instead of classes are learnt with task=regression"
    )


def _sorted(labels: Iterable[str]) -> tuple[str, ...]:
    """Return names of classes in order, whole numbers by their value."""
    names = sorted(labels)
    return tuple(sorted(names, key=int) if all(map(_is_number, names)) else names)


def _is_number(name: str) -> bool:
    return name.isdecimal() and len(name) < 20


def _half(
    root: Path, rows: Sequence[_Row], classes: tuple[str, ...], notes: Sequence[str] = ()
) -> _TableHalf:
    number = {name: place for place, name in enumerate(classes)}
    ordered = sorted(rows, key=lambda row: (number[row.label], row.file))
    numbers = np.array([number[row.label] for row in ordered], dtype=np.int64)
    images = FolderImages(root, as_names([row.file for row in ordered]), numbers)
    return _TableHalf(str(root / TABLE), classes, images, tuple(filter(None, notes)))
