"""Sets of labelled images by number, whatever they are read from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lwdna.data.image_files import Pixels, open_file
from lwdna.data.stored import stored_files, stored_rows
from lwdna.engine.fingerprint import Stored

Labels = NDArray[np.int64]
"""Class of every image, shape (N,)."""
Positions = NDArray[np.int64]
_DECODED = 64
"""Images that are looked at for a fingerprint where that takes decoding them."""


class ImageSet(Protocol):
    """Images by number, each with a class. Worker processes get a pickled copy.

    A set may say, too, how its images lie on disk: see :class:`TellsStored`.
    """

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

    def take(self, kept: Positions, labels: Labels) -> Self:
        """Return the images at some positions, with other class numbers."""
        ...


@runtime_checkable
class TellsStored(Protocol):
    """What an :class:`ImageSet` may say more: how its images lie on disk."""

    def stored(self) -> Stored:
        """Return what a fingerprint is made of; nothing of it depends on where the set lies."""
        ...


def stored_of(images: ImageSet) -> Stored:
    """Return how images lie on disk; of a set that does not say so, what a few of them show."""
    if isinstance(images, TellsStored):
        return images.stored()

    def shown(index: int) -> bytes:
        try:
            return images.open(index).tobytes()
        except Exception:  # a damaged image makes Pillow raise nearly anything; reading will say so
            return b""

    return Stored(images.labels, shown, sample=_DECODED)


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

    def stored(self) -> Stored:
        root = os.fsencode(self.root)
        return stored_files(
            lambda index: os.path.join(root, bytes(self.names[index])), self.names, self.labels
        )

    def take(self, kept: Positions, labels: Labels) -> FolderImages:
        return FolderImages(self.root, self.names[kept], labels)


@dataclass(frozen=True)
class ArrayImages:
    """Images in one array, uint8, shape (N, H, W) or (N, H, W, 3)."""

    title: str
    pixels: Pixels
    labels: Labels

    def name(self, index: int) -> str:
        return f"image {index} of {self.title}"

    def open(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])

    def fingerprint(self) -> None:
        return None

    def stored(self) -> Stored:
        return stored_rows(self.pixels, self.labels)

    def take(self, kept: Positions, labels: Labels) -> ArrayImages:
        return ArrayImages(self.title, self.pixels[kept], labels)


@dataclass(frozen=True)
class ListedHalf:
    """Half of a data set whose images are all listed; a :class:`lwdna.data.data_format.Half`."""

    title: str
    """Where it lies, for error messages."""
    classes: tuple[str, ...]
    listed: ImageSet
    """All images; their labels are places in ``classes``."""

    def images(self, chosen: Sequence[int]) -> ImageSet:
        """Return the images of the classes with these numbers, numbered anew in this order."""
        labels = self.listed.labels
        new_number = np.full(max(int(labels.max(initial=0)), *chosen) + 1, -1, dtype=np.int64)
        new_number[list(chosen)] = np.arange(len(chosen))
        renumbered = new_number[labels]
        kept = np.flatnonzero(renumbered >= 0)
        return self.listed.take(kept, renumbered[kept])


def as_names(names: Sequence[str]) -> NDArray[np.bytes_]:
    """Pack file names as :class:`FolderImages` and the archives hold them."""
    return np.array([os.fsencode(name) for name in names], dtype=np.bytes_)
