"""A table that says something of images: ``labels.csv``, a row per image, images anywhere below."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from lwdna.data.formats.folder import TRAIN, VAL
from lwdna.errors import DataError

TABLE = "labels.csv"
FILE = ("file", "filename", "file_name", "path", "filepath", "file_path", "image", "image_path",
        "image_name", "img", "img_path", "image_id", "id", "name")  # fmt: skip
SPLIT = ("split", "set", "subset", "partition")
"""What columns are called, in small letters; of several the first counts."""
_MOST_BYTES = 256 * 2**20
_LONGEST = 1000
"""Letters of a path. All paths are kept in one array, as long as the longest."""


class Row(Protocol):
    """What a table says of an image."""

    @property
    def file(self) -> str:
        """The image's path below the folder of the table."""
        ...

    @property
    def split(self) -> str:
        """The half that it belongs to, in small letters; empty where none is named."""
        ...


R = TypeVar("R", bound=Row)


class TableFiles:
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


def read_table(path: Path) -> list[list[str]]:
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


def first_of(named: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the place of the first of the names that is among those of columns, if any is."""
    return next((named.index(name) for name in names if name in named), None)


def divided(path: Path, rows: Sequence[R], notes: list[str]) -> tuple[list[R], list[R] | None]:
    """Return the rows to train on and those to validate on, None if there are none of these.

    Args:
        path: of the table.
        rows: all of them.
        notes: gets a sentence on rows that belong to neither half.

    Raises:
        DataError: a row belongs to no known half, or none is to train on.
    """
    if not any(row.split for row in rows):
        return list(rows), None
    halves: dict[str, list[R]] = {}
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
