"""Pillow's resize filters as matrices, so that a whole batch is resized on the training device."""

from __future__ import annotations

import torch
from torch import Tensor

from lwdna.data.settings import Interpolation


def resize_matrix(
    start: Tensor, length: Tensor, old: int, new: int, interpolation: Interpolation
) -> Tensor:
    """Return the weights of the old pixels in each of the new ones.

    Args:
        start: first pixel of what is resized in each image, shape (B,).
        length: how many pixels are resized, shape (B,).
        old: pixels of an image.
        new: pixels of the result.
        interpolation: the filter, widened for shrinking.

    Returns:
        Float32, shape (B, new, old).
    """
    pixels = torch.arange(old, device=start.device) + 0.5
    begin, extent = start[:, None, None].float(), length[:, None, None].float()
    centres = (torch.arange(new, device=start.device)[:, None] + 0.5) * extent / new + begin
    if interpolation == "nearest":
        return (centres.floor() + 0.5 == pixels).float()
    distance = (pixels - centres).abs() / (extent / new).clamp(min=1)
    weights = _triangle(distance) if interpolation == "bilinear" else _cubic(distance)
    weights = weights * ((pixels > begin) & (pixels < begin + extent))
    return weights / weights.sum(dim=2, keepdim=True)


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -0.5."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
