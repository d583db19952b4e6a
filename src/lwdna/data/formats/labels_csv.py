"""A table of labels: ``labels.csv`` with a file and a label in each row, images anywhere below."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from lwdna.data.data_format import DataFormat, Half, register_format
from lwdna.data.formats.folder import TRAIN, VAL
from lwdna.data.images import FolderImages, ListedHalf, as_names
from lwdna.data.listing import list_images, unread_note
from lwdna.errors import DataError

TABLE = "labels.csv"
_FILE = ("file", "filename", "file_name", "path", "filepath", "file_path", "image", "image_path",
         "image_name", "img", "img_path", "image_id", "id", "name")  # fmt: skip
_LABEL = ("label", "labels", "class", "class_name", "classname", "category", "target", "species",
          "breed", "y")  # fmt: skip
_SPLIT = ("split", "set", "subset", "partition")
"""What columns are called, in small letters; of several the first counts."""
_MOST_BYTES = 256 * 2**20
_LONGEST = 1000
"""Letters of a path. All paths are kept in one array, as long as the longest."""


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
        files = _Files(listed.images, path)
        rows, notes = _rows(path, files)
        halves = _divided(path, rows, notes)
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
                "learn; values cannot be learnt, only classes"
            )
        train, val = halves
        first = _half(root, train, classes, notes)
        return first, _half(root, val, classes) if val else None


@dataclass(frozen=True)
class _Row:
    file: str
    label: str
    split: str


@dataclass(frozen=True)
class _TableHalf(ListedHalf):
    remarks: tuple[str, ...] = ()

    def notes(self) -> tuple[str, ...]:
        return self.remarks


class _Files:
    """Images by what a table may call them: path, path without ending, bare name."""

    def __init__(self, images: Sequence[str], table: Path) -> None:
        self._table = table
        self._known: dict[str, str | None] = {}
        for name in (str.__str__, _stem, _bare, lambda image: _stem(_bare(image))):
            found: dict[str, str | None] = {}
            for image in images:
                short = name(PurePosixPath(image).as_posix())
                found[short] = None if short in found else image
            self._known = found | self._known

    def holds(self, name: str) -> bool:
        """Whether some image is called so."""
        return name.replace("\\", "/") in self._known

    def find(self, name: str, line: int) -> str:
        """Return the path of an image below the root, whether it exists or not.

        Raises:
            DataError: it would lie elsewhere, or several images are called so.
        """
        plain = PurePosixPath(name.replace("\\", "/"))
        unsafe = not plain.parts or plain.is_absolute() or {"..", ":"} & {*plain.parts, *name}
        if unsafe or not name.isprintable() or len(name) > _LONGEST:
            raise DataError(
                f"line {line} of {self._table} names {name[:_LONGEST]!r}, which is no path below "
                f"{self._table.parent}; give paths from there"
            )
        found = self._known.get(plain.as_posix(), plain.as_posix())
        if found is None:
            raise DataError(
                f"line {line} of {self._table} names {name}, but several images are called so; "
                f"give paths from {self._table.parent}"
            )
        return found


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _bare(name: str) -> str:
    return name.rpartition("/")[2]


def _rows(path: Path, files: _Files) -> tuple[list[_Row], list[str]]:
    """Return the rows that have a label, each file once, and notes.

    Raises:
        DataError: the table cannot be read, or names a file twice with different labels.
    """
    table = _read(path)
    columns, first = _columns(path, table, files)
    rows: dict[str, _Row] = {}
    empty = 0
    for line, cells in enumerate(table[first:], start=first + 1):
        values = [cells[n].strip() if n is not None and n < len(cells) else "" for n in columns]
        name, label, split = values
        if not name or not label:
            empty += any(cell.strip() for cell in cells)
            continue
        row = _Row(files.find(name, line), label, split.lower())
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


def _read(path: Path) -> list[list[str]]:
    """Return the cells of a table, whatever separates them.

    Raises:
        DataError: it cannot be read.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
        head = text.partition("\n")[0]
        separator = max(",;\t", key=head.count)  # the first of several that are as frequent
        return list(csv.reader(io.StringIO(text), delimiter=separator))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"cannot read {path} as a table ({error}); save it as CSV, UTF-8"
        ) from error


def _columns(
    path: Path, table: Sequence[Sequence[str]], files: _Files
) -> tuple[tuple[int, int, int | None], int]:
    """Return which columns hold file, label and half, and the number of the first row.

    Raises:
        DataError: the headers are unknown.
    """
    head = [cell.strip() for cell in table[0]] if table else []
    named = [cell.lower().replace(" ", "_") for cell in head]
    file, label, split = (_first(named, names) for names in (_FILE, _LABEL, _SPLIT))
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
        f"{', '.join(_FILE[1:4])}, ...), one label (or {', '.join(_LABEL[2:6])}, ...)"
    )


def _first(named: Sequence[str], names: Sequence[str]) -> int | None:
    return next((named.index(name) for name in names if name in named), None)


def _divided(
    path: Path, rows: Sequence[_Row], notes: list[str]
) -> tuple[list[_Row], list[_Row] | None]:
    """Return the rows to train on and those to validate on, None if there are none of these.

    Raises:
        DataError: a row belongs to no known half, or none is to train on.
    """
    if not any(row.split for row in rows):
        return list(rows), None
    halves: dict[str, list[_Row]] = {}
    for row in rows:
        if row.split not in (*TRAIN, *VAL):
            raise DataError(
                f"{path} says of {row.file} that its split is {row.split!r}; known are "
                f"{', '.join((*TRAIN, *VAL))}"
            )
        halves.setdefault(row.split, []).append(row)
    train = [row for name in TRAIN for row in halves.get(name, ())]
    if not train:
        raise DataError(f"{path} has no rows whose split is train; nothing can be learnt")
    others = [name for name in VAL if name in halves]
    if others[1:]:
        left = " and ".join(others[1:])
        notes.append(f"left out the rows of {path} whose split is {left}: {others[0]} is used")
    return train, halves[others[0]] if others else None


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
