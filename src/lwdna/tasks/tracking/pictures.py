"""Frames with boxes on them, alone and side by side, and what a report shows of tracks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lwdna.files import atomic, write_json
from lwdna.run_folder import TRACKING_RECORD
from lwdna.tasks.tracking.metrics import Boxes, Track, tracking_record

Frame = NDArray[np.uint8]
"""An image, shape (H, W, 3)."""

COLOURS = ((240, 228, 66), (86, 180, 233), (213, 94, 0), (0, 158, 115), (204, 121, 167))
"""Yellow, sky blue, vermilion, green and purple of Okabe and Ito's palette (2008), which people who
see few colours tell apart; they differ in lightness, too."""
TRUTH, FOUND = "truth", "network"
"""Names of the boxes on the pictures of a report."""

_WIDTH = 256
"""Width in pixels of a frame in a strip of a report."""
_SHOWN = 4
"""How many frames such a strip has."""
_DARK, _PALE = (0, 0, 0), (255, 255, 255)


def draw_boxes(image: Frame, boxes: Mapping[str, NDArray[np.float64] | None]) -> Frame:
    """Return a copy of a frame with a labelled box for each name, in the order of the names.

    Colours follow that order (:data:`COLOURS`), and so do the labels' places (above the left
    corner, below it, above the right one, below it), so that boxes that agree leave both legible.
    Lines have a dark rim, which shows them on light ground, too; they grow with the frame, and so
    do letters.

    Args:
        image: shape (H, W, 3), uint8.
        boxes: x, y, width and height in pixels by name; ``None`` or NaN draws nothing. What lies
            outside the frame is not seen, but the label is.
    """
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    thick = max(2, round(min(picture.size) / 160))
    drawn = [
        (place, name, np.asarray(box, dtype=np.float64))
        for place, (name, box) in enumerate(boxes.items())
        if box is not None and np.isfinite(box).all()
    ]
    for place, _, box in drawn:
        _outline(pen, box, COLOURS[place % len(COLOURS)], thick)
    for place, name, box in drawn:  # labels lie above all lines
        _label(pen, picture.size, name, box, place)
    return np.asarray(picture)


def _outline(
    pen: ImageDraw.ImageDraw, box: Boxes, colour: tuple[int, int, int], thick: int
) -> None:
    """Draw a line around the pixels of a box, and a dark rim around the line."""
    # far outside, where nothing is seen, drawing would only take time
    low, high = (np.clip(corner, -1e4, 1e5) for corner in (box[:2], box[:2] + box[2:]))
    left, top = (round(float(value)) for value in low)
    right, bottom = (max(round(float(e)) - 1, s) for e, s in zip(high, (left, top), strict=True))
    for shift, width, ink in ((thick + 1, 1, _DARK), (thick, thick, colour)):
        corners = (left - shift, top - shift, right + shift, bottom + shift)
        pen.rectangle(corners, outline=ink, width=width)


def _label(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], name: str, box: Boxes, place: int
) -> None:
    colour = COLOURS[place % len(COLOURS)]
    font = ImageFont.load_default(_letters(size))
    width, height = _extent(pen, name, font)
    at_right, below = place % 4 >= 2, place % 2 == 1
    x = box[0] + box[2] - width if at_right else box[0]
    y = box[1] + box[3] + 3 if below else box[1] - height - 3
    left, top = (
        round(float(np.clip(value, 0, max(room - length, 0))))
        for value, room, length in ((x, size[0], width), (y, size[1], height))
    )
    pen.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
    ink = _DARK if _lightness(colour) > 0.45 else _PALE
    pen.text((left + 2, top + height / 2), name, fill=ink, font=font, anchor="lm")


def _letters(size: tuple[int, int]) -> int:
    return max(9, round(min(size) / 18))


def _extent(
    pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> tuple[int, int]:
    """Return width and height of a label with its margin."""
    height = pen.textbbox((0, 0), "Ag", font=font)[3]
    return round(pen.textlength(text, font=font)) + 4, round(height) + 2


def _lightness(colour: tuple[int, int, int]) -> float:
    """Return how light a colour looks, from 0 to 1."""
    red, green, blue = colour
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


def strip(frames: Sequence[Frame], columns: int, captions: Sequence[str] = ()) -> Frame:
    """Return frames side by side, row after row, on white with a small gap between them.

    Args:
        frames: at least one; each is brought to the width of the first.
        columns: how many a row has.
        captions: what stands below each frame, if anything does.
    """
    width = frames[0].shape[1]
    pictures = [_to_width(frame, width) for frame in frames]
    line = 16 if captions else 0
    gap = 4
    height = max(picture.height for picture in pictures) + line
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new(
        "RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), (255, 255, 255)
    )
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        left, top = column * (width + gap), row * (height + gap)
        sheet.paste(picture, (left, top))
        if captions:
            middle = (left + width / 2, top + picture.height + line / 2)
            pen.text(middle, captions[number], fill=(89, 99, 110), font=font, anchor="mm")
    return np.asarray(sheet)


def _to_width(frame: Frame, width: int) -> Image.Image:
    picture = Image.fromarray(frame)
    if picture.width == width:
        return picture
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def write_strips(folder: Path, track: Track, frame: Callable[[int], Frame]) -> None:
    """Write the pictures of one sequence that a report shows, as PNG.

    ``NAME-input.png`` is the first frame with the box that was given, ``NAME-target.png`` a few
    later ones with the truth, ``NAME-output.png`` the same ones with truth and box found. Which
    frames these are follows from the number of frames alone: every network is shown at the same.

    Args:
        folder: where to.
        track: the boxes; ``/`` in its name becomes ``-``.
        frame: returns frame i of the sequence, as :meth:`Sequence.frame` does.

    Raises:
        FileError: a picture cannot be written.
    """
    numbers = shown_frames(len(track.truth))
    first = _drawn(frame(0), {TRUTH: track.truth[0]})
    shots = [(number, frame(number)) for number in numbers]
    captions = [f"frame {number + 1}" for number in numbers]
    rows = {
        "target": [_drawn(image, {TRUTH: track.truth[i]}) for i, image in shots],
        "output": [
            _drawn(image, {TRUTH: track.truth[i], FOUND: track.found[i]}) for i, image in shots
        ],
    }
    stem = track.name.replace("/", "-")
    write_png(folder / f"{stem}-input.png", strip([first], 1, ["frame 1"]))
    for kind, row in rows.items():
        write_png(folder / f"{stem}-{kind}.png", strip(row, _SHOWN, captions))


def shown_frames(count: int) -> list[int]:
    """Return which frames of a sequence stand for it, evenly spaced and the last among them."""
    return sorted({int(number) for number in np.linspace(0, count - 1, _SHOWN + 1)[1:].round()})


def _drawn(image: Frame, boxes: Mapping[str, NDArray[np.float64]]) -> Frame:
    """Bring a frame to the strip's width first: lines and letters should not be scaled."""
    scale = _WIDTH / image.shape[1]
    picture = np.asarray(_to_width(image, _WIDTH))
    return draw_boxes(picture, {name: np.asarray(box) * scale for name, box in boxes.items()})


def write_png(path: Path, image: Frame) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises:
        FileError: it cannot be written.
    """
    with atomic(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", optimize=True)


def write_tracking(folder: Path, toolkit: str, tracks: Sequence[Track]) -> None:
    """Write ``tracking.json``, the curves of all ``tracks`` by the rules of a toolkit.

    With :func:`write_strips` for some of them it is all that ``TrackingTask.show`` has to leave in
    its folder for the report::

        write_tracking(folder, settings.toolkit, tracks)
        for track, sequence in zip(tracks[:3], sequences):
            write_strips(folder, track, sequence.frame)

    Raises:
        DataError: boxes found and true ones do not fit each other.
        FileError: the file cannot be written.
    """
    write_json(folder / TRACKING_RECORD, tracking_record(toolkit, tracks))
