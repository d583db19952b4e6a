"""Sets of labelled images: in folders, in a zip file, or as an array."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lwdna.errors import DataError

Labels = NDArray[np.int64]
EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff",
)  # fmt: skip
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")


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


def decode(images: ImageSet, index: int, image: Image.Image, in_chans: int) -> Image.Image:
    """Decode an opened image as RGB, or as grey if ``in_chans`` is 1.

    Raises:
        DataError: its data are damaged.
    """
    try:
        return image.convert("RGB" if in_chans == 3 else "L")
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes Pillow's readers raise nearly anything
        raise _damaged(images.name(index), error) from error


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
        name = self.name(index)
        try:
            with open(name, "rb") as file:
                content = file.read()
        except OSError as error:
            raise DataError(
                f"cannot read the image {name}: {error.strerror or error}; restore it or remove "
                "it from the data set"
            ) from error
        return _open(content, name)

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
            raise _damaged(self.name(index), error) from error
        return _open(content, self.name(index))

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


def _open(content: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=_FORMATS)
    except MemoryError:
        raise
    except Exception as error:  # see decode
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> DataError:
    why = "no known image format" if isinstance(error, UnidentifiedImageError) else str(error)
    why = " ".join(why.split()) or type(error).__name__
    return DataError(
        f"the image {name} is damaged or is not an image ({why}); restore it or remove it from "
        "the data set"
    )
