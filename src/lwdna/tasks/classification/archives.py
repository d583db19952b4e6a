"""List the images of a zip file with entries ``<split>/<class>/<image>``, trusting none of it."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np

from lwdna.errors import DataError
from lwdna.tasks.classification.images import Labels
from lwdna.tasks.image_files import EXTENSIONS

MAX_BYTES = 64 * 2**20
"""Largest image; an entry that unpacks to more is taken for a trap."""


@dataclass(frozen=True)
class Archive:
    """Entries of a zip file, sorted by class and name."""

    path: Path
    classes: tuple[str, ...]
    names: list[str]
    labels: Labels


def list_archive(path: Path) -> Archive:
    """List the images in a zip file; nothing is unpacked.

    Raises:
        DataError: the file is not a zip file, is empty, or holds an entry that is no image or
            whose name is unsafe or outside ``<split>/<class>/<image>``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise DataError(f"{path} is not a readable zip file ({error}); fetch it again") from error
    pairs = sorted(_check(path, entry) for entry in entries if not entry.is_dir())
    if not pairs:
        raise DataError(f"{path} has no images; expected entries {path.stem}/<class>/<image>")
    for before, after in pairwise(pairs):
        if before == after:
            raise DataError(f"{path} holds the entry {after[1]} twice; fetch or make it again")
    classes = tuple(sorted({label for label, _ in pairs}))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[label] for label, _ in pairs], dtype=np.int64)
    return Archive(path, classes, [name for _, name in pairs], labels)


def _check(path: Path, entry: zipfile.ZipInfo) -> tuple[str, str]:
    """Return class and name of an entry."""
    # the reader cuts names at a NUL and turns backslashes into slashes on some systems; the name
    # as stored is what counts
    name = entry.orig_filename
    parts = name.split("/")
    unsafe = any(part in ("", ".", "..") for part in parts) or any(sign in name for sign in "\\\0")
    if unsafe:
        raise DataError(
            f"{path} holds an entry with an unsafe name ({name!r}); make the archive again with "
            f"plain names {path.stem}/<class>/<image>"
        )
    if len(parts) != 3 or parts[0] != path.stem:
        raise DataError(
            f"{path} holds the entry {name}; expected {path.stem}/<class>/<image>: make the "
            "archive again in that layout"
        )
    if PurePosixPath(name).suffix.lower() not in EXTENSIONS:
        raise DataError(
            f"{path} holds the entry {name}, which is not an image ({', '.join(EXTENSIONS)}); "
            "remove it from the archive"
        )
    if entry.file_size > MAX_BYTES:
        raise DataError(
            f"the entry {name} of {path} unpacks to {entry.file_size} bytes, more than an image "
            f"may have ({MAX_BYTES}); remove it from the archive"
        )
    return parts[1], name
