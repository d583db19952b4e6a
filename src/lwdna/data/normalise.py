"""Pixel values as networks take them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Normalise:
    """Subtract a mean and divide by a deviation, per channel.

    Args:
        mean: per channel, of values counted from 0 to 1.
        std: the same of the deviation.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        means, deviations = torch.tensor(mean), torch.tensor(std)
        scale, shift = 1 / (255 * deviations), means / deviations
        self._constants = torch.stack([scale, shift])[:, :, None, None]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return (pixels / 255 - mean) / std, float32, shape (B, C, H, W).

        Args:
            pixels: values 0 to 255, uint8 or float32, shape (B, C, H, W).
        """
        self._constants = self._constants.to(pixels.device)  # copied once per change of device
        scale, shift = self._constants
        images = pixels.to(torch.float32, memory_format=torch.contiguous_format)
        return images.mul_(scale).sub_(shift)
