"""Folders of sequences, and names that files give for what lies in them."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from lwdna.data.sequences.sequence import natural
from lwdna.errors import DataError


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, hidden ones left out, in natural order."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()]
    return [folder / name for name in natural(names)]


def safe_name(name: str, source: Path) -> str:
    """Return a relative path as a file gives it, if it stays below the folder it is meant for.

    Args:
        name: the path, ``/`` between its parts.
        source: the file, for the error.

    Raises:
        DataError: it is empty, absolute, or climbs up.
    """
    path = PurePosixPath(name)
    odd = not path.parts or path.is_absolute() or ".." in path.parts
    if odd or any(sign in name for sign in "\\:\0"):
        raise DataError(
            f"{source} names {name!r}, which may lie outside the data set; names there must be "
            "relative and must not climb up"
        )
    return name
