"""Single images as validation gives them to a network."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lwdna.data.image_files import open_file
from lwdna.data.image_transforms import EvalTransform
from lwdna.data.normalise import Normalise
from lwdna.interface import Preprocessing


def prepare(image: str | Path | Image.Image, preprocessing: Preprocessing) -> Tensor:
    """Return an image as a network takes it: resized, cropped and normalised as in validation.

    >>> interface = lwdna.read_interface("model.safetensors")
    >>> batch = lwdna.prepare("photo.jpg", interface.preprocessing)[None]

    Args:
        image: a file, or an image of Pillow's, which stays as it is.
        preprocessing: what :func:`lwdna.read_interface` found in the file of weights.

    Returns:
        Float32, shape (C, H, W), without the batch axis.

    Raises:
        DataError: the file is missing, damaged or no image.
    """
    if isinstance(image, Image.Image):
        opened, name = image, "given"
    else:
        name = os.fspath(image)
        opened = open_file(name)
    pixels = EvalTransform(preprocessing).pixels(opened, name)
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    return Normalise(preprocessing.mean, preprocessing.std)(batch)[0]
