"""CIFAR as images in two zip files, ``train.zip`` and ``test.zip``, of which nothing is trusted."""

from __future__ import annotations

import hashlib
import os
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lwdna.data.data_format import DataFormat, Defaults, Half, register_format
from lwdna.data.formats.cifar import CIFAR10, CIFAR100
from lwdna.data.image_files import EXTENSIONS, MAX_BYTES, damaged, open_content
from lwdna.data.images import Labels, ListedHalf, Positions, as_names
from lwdna.engine.fingerprint import Stored
from lwdna.errors import DataError


@register_format("cifar-zip")
class CifarZip(DataFormat):
    """Zip files with entries ``<split>/<class>/<image>``; ``val.zip`` will do for ``test.zip``."""

    layout = "train.zip and test.zip"

    def defaults_for(self, class_count: int) -> Defaults:
        return CIFAR10 if class_count == 10 else CIFAR100

    def detect(self, root: Path) -> bool:
        return (root / "train.zip").is_file()

    def open(self, root: Path) -> tuple[Half, Half]:
        train, val = root / "train.zip", root / "test.zip"
        if not val.is_file() and (root / "val.zip").is_file():
            val = root / "val.zip"
        for path in (train, val):
            if not path.is_file():
                raise DataError(
                    f"{root} has no {path.name}; expected train.zip and test.zip with entries "
                    "train/<class>/<image> and test/<class>/<image>"
                )
        return list_archive(train), list_archive(val)


@dataclass(frozen=True)
class ZipImages:
    """Image entries of a zip file, decoded from memory."""

    path: Path
    names: NDArray[np.bytes_]
    labels: Labels
    _opened: dict[int, zipfile.ZipFile] = field(default_factory=dict, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def name(self, index: int) -> str:
        return f"{self.path}:{self._entry(index)}"

    def open(self, index: int) -> Image.Image:
        try:
            content = self._archive().read(self._entry(index))
        except MemoryError:
            raise
        except Exception as error:  # damaged archives raise much more than BadZipFile
            raise damaged(self.name(index), error) from error
        return open_content(content, self.name(index))

    def fingerprint(self) -> str:
        state = self.path.stat()
        digest = hashlib.sha256(os.fsencode(self.path.resolve()))
        digest.update(f"\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
        digest.update(self.names.tobytes())
        return digest.hexdigest()

    def stored(self) -> Stored:
        with zipfile.ZipFile(self.path) as archive:
            sums = {entry.orig_filename: entry.CRC for entry in archive.infolist()}

        def checksums(places: Sequence[int]) -> list[int]:
            return [sums.get(self._entry(place), -1) for place in places]

        return Stored(
            self.labels,
            content=lambda index: repr(checksums([index])).encode(),
            names=self.names,
            sizes=checksums,
        )

    def take(self, kept: Positions, labels: Labels) -> ZipImages:
        return ZipImages(self.path, self.names[kept], labels)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "names": self.names, "labels": self.labels}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _opened={}, _lock=threading.Lock())

    def _entry(self, index: int) -> str:
        return os.fsdecode(bytes(self.names[index]))

    def _archive(self) -> zipfile.ZipFile:
        """Return this process's own handle: a forked one would share its position in the file."""
        with self._lock:
            process = os.getpid()
            if process not in self._opened:
                self._opened[process] = zipfile.ZipFile(self.path)
            return self._opened[process]


def list_archive(path: Path) -> ListedHalf:
    """List the images in a zip file, sorted by class and name; nothing is unpacked.

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
    return ListedHalf(
        str(path), classes, ZipImages(path, as_names([name for _, name in pairs]), labels)
    )


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
