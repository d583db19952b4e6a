"""Regions of images that are read from files: decoded, cut out and resized on a CPU.

What training spends on an image is mostly its decoding. So plain JPEG files go through the decoder
of torchvision, which yields the pixels that Pillow's does (both use libjpeg-turbo) without copying
them twice; of large photographs only a reduced version is decoded; and resizing is torch's for
bytes, vectorised, which is within two levels of 256 of Pillow's.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import cast

import numpy as np
import torch
from PIL import Image
from PIL.ImageFile import ImageFile
from torch import Tensor
from torch.nn.functional import interpolate

from lwdna.data.image_files import decode, orientation
from lwdna.data.settings import Interpolation

try:
    from torchvision.io import ImageReadMode, decode_jpeg
except ImportError:  # torchvision means to hand its decoders over to another package
    decode_jpeg = None

_SPARE = 2
"""Pixels of a reduced version for each one of the result, along either side: what a larger one
would add to the result cannot be seen."""
_REDUCED = (8, 4, 2)
"""By what libjpeg divides the sides of an image while it decodes it."""


def read_region(
    image: Image.Image,
    box: Sequence[int],
    side: int,
    interpolation: Interpolation,
    in_chans: int,
    name: str,
) -> Tensor:
    """Decode a region of an opened image and resize it with antialiasing.

    Args:
        image: its pixels have not been decoded.
        box: top, left, height and width in pixels of the upright image.
        side: height and width of the result.
        interpolation: the filter.
        in_chans: 3 for colour, 1 for grey.
        name: what errors call the image.

    Returns:
        Uint8, shape (in_chans, side, side).

    Raises:
        DataError: the image is damaged.
    """
    top, left, bottom, right = box[0], box[1], box[0] + box[2], box[1] + box[3]
    factor = _reduction(image, box, side)
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))
        pixels = _by_pillow(image, in_chans, name)
        top, left, bottom, right = (round(edge / factor) for edge in (top, left, bottom, right))
    else:
        pixels = _pixels(image, in_chans, name)
    region = pixels[None, :, top:bottom, left:right]
    if interpolation == "nearest":
        return interpolate(region, (side, side), mode="nearest-exact")[0]
    return interpolate(region, (side, side), mode=interpolation, antialias=True)[0]


def is_plain_jpeg(image: Image.Image, in_chans: int) -> bool:
    """Whether any decoder of JPEG reads an opened image as Pillow does.

    It holds as many channels as are asked for, or is grey, and lies upright.
    """
    return (
        image.format == "JPEG"
        and image.mode in ("L", "RGB")[:in_chans]
        and orientation(image) == 1
        and isinstance(getattr(image, "fp", None), BytesIO)
    )


def encoded(image: Image.Image) -> Tensor:
    """Return the file that an image was opened from, uint8, shape (bytes,), without a copy."""
    content = cast(ImageFile, image).fp
    assert isinstance(content, BytesIO)  # see is_plain_jpeg
    return torch.frombuffer(content.getbuffer(), dtype=torch.uint8)


def _reduction(image: Image.Image, box: Sequence[int], side: int) -> int:
    """Return by what the image may be divided while it is decoded; 1 is not at all."""
    if image.format != "JPEG":
        return 1
    enough, upright = _SPARE * side, orientation(image) == 1
    for factor in _REDUCED:
        # what is left over of a side lies at its end, which turning makes its beginning
        whole = upright or not (image.width % factor or image.height % factor)
        if min(box[2:]) >= factor * enough and whole:
            return factor
    return 1


def _pixels(image: Image.Image, in_chans: int, name: str) -> Tensor:
    """Decode an opened image: uint8, shape (in_chans, H, W), in whatever order in memory."""
    if decode_jpeg is not None and is_plain_jpeg(image, in_chans):
        mode = ImageReadMode.RGB if in_chans == 3 else ImageReadMode.GRAY
        try:
            pixels: Tensor = decode_jpeg(encoded(image), mode)
            return pixels
        except RuntimeError:  # Pillow reads more, and says what is wrong
            pass
    return _by_pillow(image, in_chans, name)


def _by_pillow(image: Image.Image, in_chans: int, name: str) -> Tensor:
    array = np.array(decode(image, in_chans, name))
    return torch.from_numpy(array.reshape(*array.shape[:2], in_chans)).permute(2, 0, 1)
