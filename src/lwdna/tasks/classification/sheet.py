"""A contact sheet: small pictures of some validation images in one file, and which they are."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lwdna.errors import FileError
from lwdna.files import atomic

_SIDE = 80
"""Pixels that a picture has at most, up and across."""
_PIXELS = 640_000
_PICTURES = 1000
"""Both at most of a sheet, so that it takes some hundred kilobytes."""
_BLOCK = 8
"""Pixels that JPEG compresses together; a picture shares none with the next."""

Pixels = NDArray[np.uint8]


def at_even_distances(count: int, side: int) -> list[int]:
    """Return which of ``count`` images of so many pixels up and across are on a sheet."""
    side = min(side, _SIDE)
    shown = min(count, _PICTURES, _PIXELS // side**2)
    return [place * count // shown for place in range(shown)]


def write_sheet(path: Path, positions: Sequence[int], images: Iterable[Pixels]) -> None:
    """Write images as a sheet, shrunk where they are large.

    Args:
        path: the JPEG file; its comment says which images these are.
        positions: numbers of the images in their set.
        images: as many, uint8, shape (S, S, 3) or (S, S, 1), all of one size.

    Raises:
        FileError: it cannot be written.
    """
    small = [_shrunk(image) for image in images]
    side = small[0].width
    pitch = ceil(side / _BLOCK) * _BLOCK
    columns = ceil(len(small) ** 0.5)
    rows = ceil(len(small) / columns)
    sheet = Image.new(small[0].mode, (columns * pitch, rows * pitch))
    for number, picture in enumerate(small):
        sheet.paste(picture, (number % columns * pitch, number // columns * pitch))
    told = json.dumps({"side": side, "positions": list(positions)}, separators=(",", ":"))
    with atomic(path) as temporary:
        sheet.save(temporary, format="JPEG", quality=90, subsampling=0, comment=told)


def _shrunk(pixels: Pixels) -> Image.Image:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    side = min(image.width, _SIDE)
    return image if image.width == side else image.resize((side, side), Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class Sheet:
    """A sheet as it was written."""

    image: Image.Image
    side: int
    """Of a picture, in pixels."""
    positions: tuple[int, ...]
    """Numbers of the images in their set, in ascending order."""

    def picture(self, position: int) -> bytes:
        """Return the picture of an image of the set as a PNG file."""
        pitch = ceil(self.side / _BLOCK) * _BLOCK
        row, column = divmod(self.positions.index(position), self.image.width // pitch)
        left, top = column * pitch, row * pitch
        target = io.BytesIO()
        self.image.crop((left, top, left + self.side, top + self.side)).save(target, format="PNG")
        return target.getvalue()


def read_sheet(path: Path) -> Sheet:
    """Read what :func:`write_sheet` wrote.

    Raises:
        FileError: the file cannot be read or is no such sheet.
    """
    try:
        with Image.open(path) as image:
            told = json.loads(image.info["comment"])
            image.load()
        return Sheet(image, int(told["side"]), tuple(map(int, told["positions"])))
    except (OSError, ValueError, LookupError, TypeError, Image.DecompressionBombError) as error:
        raise FileError(
            f"cannot read the pictures in {path}: {error}; delete the file, and reports go without"
        ) from error
