"""Read image files upright and with 8 bits per value; a fault names the file.

Cameras store what their sensor sees and say in EXIF how to turn it. Every viewer does so: what a
user takes for the image is the turned one.
"""

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
DECODING = 2
"""Keys of what is kept decoded hold it: raise it whenever files come out as other pixels."""
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")
_LATE = (b"eXIf", b"Raw profile type exif", b"com.adobe.xmp")
"""Where a PNG file may say how to turn it, behind its pixels even."""
_SAYING = {"exif", "Raw profile type exif", "XML:com.adobe.xmp"}
"""What Pillow calls that."""
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 262, 274
"""Tags of TIFF; EXIF shares the last."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What to do by orientation."""


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
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        if image.format == "PNG" and any(word in content for word in _LATE):
            image.load()
        return image
    except MemoryError:
        raise
    except Exception as error:  # see decode
        raise damaged(name, error) from error


def size_of(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an opened image as :func:`decode` will return it."""
    tags = getattr(image, "tag_v2", {})
    size = (tags[_WIDTH], tags[_HEIGHT]) if _WIDTH in tags and _HEIGHT in tags else image.size
    return size[::-1] if orientation(image) >= 5 else size


def decode(image: Image.Image, in_chans: int, name: str) -> Image.Image:
    """Decode an opened image as RGB, or as grey if ``in_chans`` is 1, without transparency.

    Raises:
        DataError: see :func:`upright`.
    """
    return upright(image, name).convert("RGB" if in_chans == 3 else "L")


def upright(image: Image.Image, name: str) -> Image.Image:
    """Decode an opened image: turned as it should be seen, 8 bits per value, otherwise as it is.

    Of 16 bits (and 12) the upper 8 are kept, as Pillow does for colour. Floating-point values are
    counted from 0 to 1.

    Raises:
        DataError: its data are damaged, or its values cannot be taken for brightness.
    """
    try:
        # Pillow turns TIFF files while it decodes them, and forgets the tag
        turn = None if image.format == "TIFF" else _TURNS.get(orientation(image))
        image.load()
        invisible = image.info.get("transparency")
        if isinstance(invisible, tuple) and max(invisible) > 255:  # of 16 bits, as the pixels were
            image.info["transparency"] = tuple(value >> 8 for value in invisible)
        if image.mode.startswith(("I", "F")):
            image = _to_8_bits(image, name)
        elif image.mode in ("La", "RGBa"):  # premultiplied
            image = image.convert(f"{image.mode[:-1]}A")
        elif image.mode == "LAB":
            raise DataError(f"the image {name} has LAB colours; convert it to RGB")
        return image if turn is None else image.transpose(turn)
    except (MemoryError, DataError):
        raise
    except Exception as error:  # a damaged file makes Pillow's readers raise nearly anything
        raise damaged(name, error) from error


def opacity(image: Image.Image) -> Image.Image | None:
    """Return the alpha channel of what :func:`upright` returned, ``None`` if it has none."""
    if image.mode not in ("LA", "PA", "RGBA") and "transparency" not in image.info:
        return None
    return image.convert("RGBA").getchannel("A")


def orientation(image: Image.Image) -> int:
    """Return how an image is to be turned, from 1 (not at all) to 8."""
    if image.format is None:  # made in memory
        return 1
    if image.format == "PNG" and not _SAYING & image.info.keys():
        return 1  # asked further, Pillow would decode it in search of more
    try:
        tags = getattr(image, "tag_v2", None)
        found = (image.getexif() if tags is None else tags).get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data are no reason to refuse an image
        return 1
    return found if found in _TURNS else 1


def _to_8_bits(image: Image.Image, name: str) -> Image.Image:
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    if image.mode == "F":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # NaN is neither
            raise DataError(
                f"the image {name} has floating-point values from {low:.4g} to {high:.4g}, but "
                "only 0 (black) to 1 (white) can be told apart; scale them, or convert it to 8 or "
                "16 bits"
            )
        levels = np.rint(values * 255).astype(np.uint8)
    elif image.mode.startswith("I;16") or image.format in ("PNG", "PPM"):
        bits = tags[_BITS][0] if _BITS in tags else 16
        levels = (values >> (bits - 8)).astype(np.uint8)
    else:
        raise DataError(
            f"the image {name} has signed or 32-bit whole numbers, of which nothing says how "
            "bright they are; convert it to 8 or 16 bits"
        )
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero
        levels = 255 - levels
    grey = Image.fromarray(levels)
    invisible = image.info.get("transparency")
    if not isinstance(invisible, int):
        return grey
    alpha = np.where(values == invisible, 0, 255).astype(np.uint8)
    return Image.merge("LA", (grey, Image.fromarray(alpha)))


def damaged(name: str, error: Exception) -> DataError:
    """Return the error that names a damaged image."""
    why = "no known image format" if isinstance(error, UnidentifiedImageError) else str(error)
    why = " ".join(why.split()) or type(error).__name__
    return DataError(
        f"the image {name} is damaged or is not an image ({why}); restore it or remove it from "
        "the data set"
    )
