"""Read image files; a fault names the file."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lwdna.errors import DataError

Pixels = NDArray[np.uint8]
EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff",
)  # fmt: skip
MAX_BYTES = 64 * 2**20
"""Largest image; an entry of an archive that unpacks to more is taken for a trap."""
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")


def open_file(name: str) -> Image.Image:
    """Return an image of known size whose pixels may not have been decoded yet.

    Raises:
        DataError: it cannot be read or is not an image.
    """
    try:
        with open(name, "rb") as file:
            content = file.read()
    except OSError as error:
        raise DataError(
            f"cannot read the image {name}: {error.strerror or error}; restore it or remove "
            "it from the data set"
        ) from error
    return open_content(content, name)


def open_content(content: bytes, name: str) -> Image.Image:
    """Return the image in the bytes of a file; ``name`` is for errors.

    Raises:
        DataError: it is not an image.
    """
    try:
        return Image.open(io.BytesIO(content), formats=_FORMATS)
    except MemoryError:
        raise
    except Exception as error:  # see decode
        raise damaged(name, error) from error


def decode(image: Image.Image, in_chans: int, name: str) -> Image.Image:
    """Decode an opened image as RGB, or as grey if ``in_chans`` is 1.

    Raises:
        DataError: its data are damaged.
    """
    try:
        return image.convert("RGB" if in_chans == 3 else "L")
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes Pillow's readers raise nearly anything
        raise damaged(name, error) from error


def damaged(name: str, error: Exception) -> DataError:
    """Return the error that names a damaged image."""
    why = "no known image format" if isinstance(error, UnidentifiedImageError) else str(error)
    why = " ".join(why.split()) or type(error).__name__
    return DataError(
        f"the image {name} is damaged or is not an image ({why}); restore it or remove it from "
        "the data set"
    )
