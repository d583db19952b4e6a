"""How images lie on disk, for the fingerprint of a data set."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lwdna.engine.fingerprint import Stored

END = 32 * 1024
"""Bytes that are read from the beginning and from the end of a file."""
_SUMMED = 256 * 2**20
"""Bytes of an array up to which every image of it gets a checksum."""


def stored_files(
    path: Callable[[int], str | bytes],
    names: Sequence[bytes] | NDArray[np.bytes_],
    labels: NDArray[np.int64],
) -> Stored:
    """Return how files lie on disk.

    Args:
        path: of the file of this number.
        names: what they are called below the folder of the set.
        labels: class of each, shape (N,).
    """
    return Stored(
        labels,
        content=lambda index: file_ends(path(index)),
        names=names,
        sizes=lambda places: [_size(path(place)) for place in places],
    )


def stored_rows(rows: NDArray[np.uint8], labels: NDArray[np.int64]) -> Stored:
    """Return how the images of an array, shape (N, ...), are kept."""

    def content(index: int) -> bytes:
        return np.ascontiguousarray(rows[index]).tobytes()

    return Stored(
        labels,
        content,
        sizes=(lambda places: [zlib.crc32(content(place)) for place in places])
        if rows.nbytes <= _SUMMED
        else None,
    )


def _size(path: str | bytes) -> int:
    try:
        return os.stat(path).st_size
    except OSError:  # reading it will say so
        return -1


def file_ends(path: str | bytes) -> bytes:
    """Return the beginning and the end of a file."""
    try:
        with open(path, "rb") as file:
            first = file.read(END)
            file.seek(max(END, file.seek(0, os.SEEK_END) - END))
            return first + file.read()
    except OSError:  # reading it will say so
        return b""
