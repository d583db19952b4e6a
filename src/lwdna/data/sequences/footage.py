"""What a target can be followed in: a video, a folder of images, or a sequence with its truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import numpy as np

from lwdna.data.image_files import EXTENSIONS, Pixels
from lwdna.data.sequences.memory import FrameMemory
from lwdna.data.sequences.opening import open_sequences
from lwdna.data.sequences.sequence import Boxes, Sequence, frames_in, known
from lwdna.data.sequences.truth import read_boxes
from lwdna.data.sequences.video import Video
from lwdna.errors import DataError

Box = Boxes
"""x, y, w, h in pixels, shape (4,)."""
_IMAGES = "img"
"""Where OTB and LaSOT have the frames; GOT-10k has them beside the boxes."""


@dataclass(frozen=True)
class Footage:
    """Frames in the order of time."""

    source: str
    """The file or folder that they come from."""
    frames: Iterable[Pixels]
    """RGB, (H, W, 3), uint8; each iteration begins anew and holds one frame at a time.

    Raises:
        DataError: a frame is damaged; it is named.
    """
    count: int | None
    """How many there are, where that is known."""
    rate: float | None = None
    """Frames per second, where that is known."""
    sequence: Sequence | None = None
    """With the truth, where there is one."""

    @classmethod
    def of(cls, sequence: Sequence, source: str) -> Footage:
        """Return the frames of a sequence."""
        frames = _ByNumber(sequence.frame, len(sequence))
        return cls(source, frames, len(sequence), sequence=sequence)


@dataclass(frozen=True)
class _ByNumber:
    read: Callable[[int], Pixels]
    count: int

    def __iter__(self) -> Iterator[Pixels]:
        return map(self.read, range(self.count))


def open_footage(path: Path) -> Footage:
    """Return the frames of a video file, of a folder of images in natural order, or of a sequence.

    A sequence is a folder with ``groundtruth_rect.txt`` (OTB) or ``groundtruth.txt`` (LaSOT,
    GOT-10k), and its images there or in ``img``. Of several targets, it is the first.

    Raises:
        DataError: there is no such thing, it is damaged or empty, or truth and frames differ in
            number.
    """
    if path.is_file() and path.suffix.lower() not in EXTENSIONS:
        video = Video(path)
        return Footage(str(path), video, video.count, video.rate)
    if path.is_file():
        raise DataError(f"{path} is one image; name a video, or a folder of images in their order")
    if not path.is_dir():
        raise DataError(f"there is no video or folder {path}; name a video or a folder of images")
    sequence = _sequence_in(path)
    if sequence is not None:
        return Footage.of(sequence, str(path))
    frames = frames_in(_images_of(path))
    return Footage(str(path), _ByNumber(frames.read, len(frames)), len(frames))


def first_box(footage: Footage, given: Box | None) -> tuple[Box, str | None]:
    """Return the target's box in the first frame, and what is to be said of it, if anything.

    Args:
        footage: its truth serves where no box is given.
        given: finite numbers. What lies beyond the first frame is cut off.

    Raises:
        DataError: no box is known, or the one given has no area or lies outside of the frame; or
            the first frame is damaged.
    """
    if given is None:
        return _true_box(footage), None
    height, width = next(iter(footage.frames)).shape[:2]
    what = f"the box {shown(given)}"
    if (given[2:] <= 0).any():
        raise DataError(f"{what} has no area; width and height must be more than 0 pixels")
    low = np.maximum(given[:2], 0)
    high = np.minimum(given[:2] + given[2:], (width, height))
    if (high <= low).any():
        raise DataError(
            f"{what} lies outside of the first frame of {width}x{height} pixels; x and y are those "
            "of its upper left corner"
        )
    box = np.concatenate([low, high - low])
    if np.array_equal(box, given):
        return box, None
    return box, (
        f"{what} reaches beyond the first frame of {width}x{height} pixels; the part inside is "
        f"tracked, {shown(box)}"
    )


def shown(box: Box) -> str:
    """Return a box as users write it: ``10,20,30.5,40``."""
    return ",".join(f"{value:.6g}" for value in box)


def _true_box(footage: Footage) -> Box:
    if footage.sequence is None:
        raise DataError(
            f"which target? {footage.source} has no groundtruth_rect.txt; give its box in pixels "
            "of the first frame: --box x,y,w,h"
        )
    box: Box = footage.sequence.boxes[0]
    if np.isnan(box).any():
        raise DataError(
            f"the truth of {footage.source} has no box in the first frame; give one: --box x,y,w,h"
        )
    return box


def _sequence_in(folder: Path) -> Sequence | None:
    """Return the sequence that a folder is, or None if it has no truth."""
    kept = FrameMemory(max_bytes=0)
    folder = folder.resolve()
    beside = not (folder / _IMAGES).is_dir()
    boxes = folder / "groundtruth_rect.txt"
    if beside and boxes.is_file():  # OTB's boxes where GOT-10k has its images
        truth = known(read_boxes(boxes))
        return Sequence(folder.name, truth, ~np.isnan(truth[:, 0]), frames_in(folder), kept)
    if not beside and any(folder.glob("groundtruth_rect*.txt")):
        return open_sequences(folder, "otb", memory=kept)[0]
    if not (folder / "groundtruth.txt").is_file():
        return None
    if beside:
        return open_sequences(folder.parent, "got10k", (escape(folder.name),), memory=kept)[0]
    return open_sequences(folder, "lasot", memory=kept)[0]


def _images_of(folder: Path) -> Path:
    """Return the folder with the images of one in which a target is to be followed.

    Raises:
        DataError: it holds sequences instead.
    """
    if (folder / _IMAGES).is_dir():
        return folder / _IMAGES
    if not any(file.suffix.lower() in EXTENSIONS for file in folder.iterdir()):
        inside = sorted(file.parent for file in folder.glob(f"*/{_IMAGES}/"))
        if inside:
            more = f" and {len(inside) - 3} more" if len(inside) > 3 else ""
            raise DataError(
                f"{folder} holds sequences, not images; name one of them: "
                f"{', '.join(map(str, inside[:3]))}{more}; lwdna evaluate measures a tracker on all"
            )
    return folder
