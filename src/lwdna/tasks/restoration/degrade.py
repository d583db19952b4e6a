"""What restoration undoes: bicubic shrinking and Gaussian noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lwdna.data.draws import Stream, draw_seed


def resize_bicubic(images: Tensor, height: int, width: int) -> Tensor:
    """Resize with Keys' cubic kernel (a = -0.5), widened for shrinking, as MATLAB's imresize does.

    The two agree but for the outermost pixels, where MATLAB mirrors the image and torch leaves
    out what lies beyond the border.

    Args:
        images: values from 0 to 1, shape (N, C, H, W).
        height: of the result in pixels.
        width: of the result in pixels.

    Returns:
        The resized images rounded to 256 levels, as stored images are; shape (N, C, height, width).
    """
    resized = F.interpolate(
        images, size=(height, width), mode="bicubic", align_corners=False, antialias=True
    )
    return to_levels(resized)


def to_levels(images: Tensor) -> Tensor:
    """Round to the 256 levels of an image file, values from 0 to 1."""
    return images.mul(255).round().clamp(0, 255).div(255)


def gaussian_noise(
    shape: tuple[int, ...], level: float, *, seed: int, epoch: int, index: int
) -> Tensor:
    """Return the noise of one example, on the CPU; it follows from its seed, epoch and index.

    Args:
        shape: of one image, (C, H, W).
        level: standard deviation for pixels counted from 0 to 255.
        seed: seed of the run, or any constant for validation.
        epoch: number of the epoch.
        index: number of the example.
    """
    generator = torch.Generator().manual_seed(draw_seed(seed, epoch, index, Stream.NOISE))
    return torch.randn(shape, generator=generator) * (level / 255)
