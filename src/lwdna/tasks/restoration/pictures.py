"""Restored images as files, and crops that show what a network does."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lwdna.files import atomic
from lwdna.tasks.restoration.store import to_pixels

CROP = 96
"""Side of the crops in pixels of the restored image."""


_SPACES = {"L": b"GRAY", "RGB": b"RGB "}
"""What an ICC profile says of the images that it is for, by Pillow's mode."""


def write_image(
    path: Path, image: Tensor, alpha: Image.Image | None = None, profile: bytes | None = None
) -> None:
    """Write an image as PNG, atomically.

    Args:
        path: the file.
        image: values from 0 to 1, shape (1, C, H, W) or (C, H, W).
        alpha: how opaque it is; brought to its size by bicubic interpolation.
        profile: ICC profile of the image that it was made from, kept if it is for such colours.

    Raises:
        FileError: it cannot be written.
    """
    pixels = to_pixels(image.reshape(image.shape[-3:]))
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    fits = profile is not None and profile[16:20] == _SPACES[picture.mode]
    if alpha is not None:
        picture.putalpha(alpha.resize(picture.size, Image.Resampling.BICUBIC))
    with atomic(path) as temporary:
        picture.save(temporary, format="PNG", icc_profile=profile if fits else None)


def busiest_window(target: Tensor) -> tuple[slice, slice]:
    """Return rows and columns of the square with the most detail in an image (1, C, H, W).

    It depends on the true image alone, so that all networks are shown at the same place.
    """
    grey = target.mean(dim=1, keepdim=True)
    height, width = grey.shape[2:]
    rows, columns = min(CROP, height), min(CROP, width)
    detail = torch.zeros_like(grey)
    detail[:, :, 1:] += grey.diff(dim=2).abs()
    detail[:, :, :, 1:] += grey.diff(dim=3).abs()
    busy = F.avg_pool2d(detail, (rows, columns), stride=8)
    place = int(busy.argmax())
    top, left = 8 * (place // busy.shape[3]), 8 * (place % busy.shape[3])
    return slice(top, top + rows), slice(left, left + columns)
