"""Arrays in safetensors files with a checksum, read and written without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lwdna.errors import FileError
from lwdna.files import CHECKSUM, atomic, checksum

Arrays = dict[str, NDArray[Any]]


def write_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write contiguous arrays by name atomically to ``path``.

    Raises:
        FileError: the file cannot be written.
    """
    with atomic(path) as temporary:
        try:
            save_file(dict(arrays), temporary, metadata={CHECKSUM: _checksum_of(arrays, {})})
        except SafetensorError as error:  # a full disk arrives as this, not as an OSError
            raise OSError(str(error)) from error


def read_arrays(path: str | Path, *, checked: bool = False) -> Arrays:
    """Read arrays by name.

    Args:
        path: a safetensors file.
        checked: refuse a file without a checksum.

    Raises:
        FileError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            notes: dict[str, str] = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise FileError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    known = CHECKSUM in notes
    if checked > known or (known and notes[CHECKSUM] != _checksum_of(arrays, notes)):
        raise FileError(
            f"cannot read {path}: its contents changed after they were written (the checksum "
            "differs)"
        )
    return arrays


def _checksum_of(arrays: Mapping[str, NDArray[Any]], notes: Mapping[str, str]) -> str:
    return checksum(
        (
            (name, str(array.dtype), array.shape, array.reshape(-1).view(np.uint8))
            for name, array in arrays.items()
        ),
        notes,
    )
