"""Sets of labelled images: in folders, in a zip file, or as an array."""

from __future__ import annotations

import hashlib
import os
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lwdna.tasks.image_files import damaged, open_content, open_file

Labels = NDArray[np.int64]


class ImageSet(Protocol):
    """Images by number, each with a class."""

    @property
    def labels(self) -> Labels:
        """Class of every image, shape (N,)."""
        ...

    def name(self, index: int) -> str:
        """Return what to call an image in an error message."""
        ...

    def open(self, index: int) -> Image.Image:
        """Return an image of known size whose pixels may not have been decoded yet.

        Raises:
            DataError: it cannot be read or is not an image.
        """
        ...

    def fingerprint(self) -> str | None:
        """Return a text that changes with the files; ``None`` if decoding costs nothing."""
        ...


@dataclass(frozen=True)
class FolderImages:
    """Image files below one folder.

    Args:
        root: the folder.
        names: paths relative to it, encoded by ``os.fsencode``: one array of bytes, because worker
            processes would copy a million small objects by merely counting their references.
        labels: class of each.
    """

    root: Path
    names: NDArray[np.bytes_]
    labels: Labels

    def name(self, index: int) -> str:
        return str(self.root / os.fsdecode(bytes(self.names[index])))

    def open(self, index: int) -> Image.Image:
        return open_file(self.name(index))

    def fingerprint(self) -> str:
        digest = hashlib.sha256(os.fsencode(self.root.resolve()))
        for index in range(len(self.labels)):
            name = self.name(index)
            digest.update(os.fsencode(name))
            try:
                state = os.stat(name)
            except OSError:  # reading it will say so
                continue
            digest.update(f"\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
        return digest.hexdigest()


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


@dataclass(frozen=True)
class ArrayImages:
    """Images in one array, uint8, shape (N, H, W) or (N, H, W, 3)."""

    title: str
    pixels: NDArray[np.uint8]
    labels: Labels

    def name(self, index: int) -> str:
        return f"image {index} of {self.title}"

    def open(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])

    def fingerprint(self) -> None:
        return None


def as_names(names: Sequence[str]) -> NDArray[np.bytes_]:
    """Pack file names for :class:`FolderImages` and :class:`ZipImages`."""
    return np.array([os.fsencode(name) for name in names], dtype=np.bytes_)
