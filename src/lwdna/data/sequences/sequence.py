"""A video with the box of one target in every frame, and the files that its frames come from."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lwdna.data.image_files import EXTENSIONS, Pixels, decode, open_file, size_of
from lwdna.data.sequences.memory import FrameMemory
from lwdna.data.stored import file_ends
from lwdna.engine.fingerprint import Stored
from lwdna.errors import DataError

Boxes = NDArray[np.float64]
"""x, y, width, height in pixels, shape (n, 4); a row of NaN where nothing is known."""
Flags = NDArray[np.bool_]
_LOOKED_AT = 8
"""Frames of a sequence whose contents a fingerprint looks at, at even distances."""
_DIGITS = re.compile(r"(\d+)")


class Frames(Protocol):
    """The frames of a sequence by number."""

    def __len__(self) -> int: ...

    def path(self, number: int) -> Path:
        """Return the file of a frame, or what else to call it; no other frame is called so."""
        ...

    def read(self, number: int) -> Pixels:
        """Return a frame, shape (H, W, 3).

        Raises:
            DataError: it is missing or damaged.
        """
        ...

    def size(self) -> tuple[int, int]:
        """Return width and height of the first frame.

        Raises:
            DataError: it is missing or damaged.
        """
        ...

    def content(self, number: int) -> bytes:
        """Return bytes that change with a frame; none where it cannot be read."""
        ...


@dataclass(slots=True)
class FileFrames:
    """Image files in a folder."""

    folder: Path
    names: NDArray[np.bytes_]
    """Of the files, in the order of time."""
    _size: tuple[int, int] | None = field(default=None, init=False)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, number: int) -> Path:
        return self.folder / os.fsdecode(self.names[number])

    def read(self, number: int) -> Pixels:
        name = str(self.path(number))
        return np.array(decode(open_file(name), 3, name))

    def size(self) -> tuple[int, int]:
        if self._size is None:
            self._size = size_of(open_file(str(self.path(0))))
        return self._size

    def content(self, number: int) -> bytes:
        return file_ends(str(self.path(number)))


@dataclass(frozen=True, eq=False, slots=True)
class Sequence:
    """A video with the box of one target; a still image is a sequence of one frame.

    Raises:
        DataError: there are not as many boxes as frames, or no frame has a box.
    """

    name: str
    boxes: Boxes
    """Of every frame, shape (n, 4). Where the truth is not known or has no area the row is NaN."""
    visible: Flags
    """Whether a frame has a box and shows more than nothing of the target, shape (n,)."""
    frames: Frames
    memory: FrameMemory
    still: bool = False
    """Whether it is one image, which stands for any number of frames."""

    def __post_init__(self) -> None:
        if not len(self.boxes) == len(self.visible) == len(self.frames):
            raise DataError(
                f"the sequence {self.name} has {len(self.frames)} frames and {len(self.boxes)} "
                f"boxes ({self.frames.path(0).parent}); restore what is missing, or exclude the "
                "sequence"
            )
        if np.isnan(self.boxes[:, 0]).all():
            raise DataError(
                f"the sequence {self.name} has no box in any frame; restore its truth, or exclude "
                "the sequence"
            )

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, number: int) -> Pixels:
        """Return a frame, shape (H, W, 3), uint8, not to be written to.

        Raises:
            DataError: it is missing or damaged; the message names it and the sequence.
        """
        try:
            return self.memory.get(str(self.frames.path(number)), lambda: self.frames.read(number))
        except DataError as error:
            raise DataError(
                f"frame {number + 1} of {len(self)} of the sequence {self.name}: {error}"
            ) from error

    def path(self, number: int) -> Path:
        """Return the file of a frame, or what else to call it."""
        return self.frames.path(number)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first frame.

        Raises:
            DataError: it is missing or damaged.
        """
        return self.frames.size()


def known(rows: Boxes) -> Boxes:
    """Return boxes as read with NaN in the rows that have no area or are not all known."""
    boxes = rows.copy()
    boxes[~(np.isfinite(rows).all(axis=1) & (rows[:, 2] > 0) & (rows[:, 3] > 0))] = np.nan
    return boxes


def frames_in(folder: Path) -> FileFrames:
    """Return the image files in a folder by number: 2 before 10, however many zeros.

    Hidden files are none.

    Raises:
        DataError: there is no such folder, or it has no images.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; it should hold the frames of a sequence")
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.name.lower().endswith(EXTENSIONS)
            and not entry.name.startswith(".")
            and entry.is_file()
        ]
    if not names:
        raise DataError(f"{folder} has no frames ({', '.join(EXTENSIONS)}); restore or remove it")
    return FileFrames(folder, np.array([os.fsencode(name) for name in natural(names)]))


def natural(names: Ordered[str]) -> list[str]:
    """Sort names by the numbers in them, as people do."""

    def key(name: str) -> tuple[list[str | int], str]:
        parts = _DIGITS.split(name)  # text, digits, text, ...
        return [int(part) if place % 2 else part for place, part in enumerate(parts)], name

    return sorted(names, key=key)


def stored_sequences(sequences: Ordered[Sequence]) -> Stored:
    """Return how sequences lie on disk, for :func:`lwdna.engine.fingerprint.half_print`.

    Boxes and names of files count for all of them, contents of a few frames for a sample.
    """

    def truth(sequence: Sequence) -> bytes:
        names = [sequence.path(number).name for number in range(len(sequence))]
        return b"".join(
            (sequence.boxes.tobytes(), sequence.visible.tobytes(), os.fsencode("/".join(names)))
        )

    def content(place: int) -> bytes:
        sequence = sequences[place]
        count = min(len(sequence), _LOOKED_AT)
        looked_at = [number * len(sequence) // count for number in range(count)]
        return truth(sequence) + b"".join(map(sequence.frames.content, looked_at))

    return Stored(
        np.zeros(len(sequences), dtype=np.int64),
        content,
        names=[os.fsencode(sequence.name) for sequence in sequences],
        sizes=lambda places: [zlib.crc32(truth(sequences[place])) for place in places],
    )
