"""Images as networks take them whose backbones were trained on photographs."""

from __future__ import annotations

import torch
from torch import Tensor

from lwdna.data.data_format import Defaults


def normalised(images: Tensor) -> Tensor:
    """Return (images / 255 - mean) / std in float32, with ImageNet's mean and deviation.

    Args:
        images: uint8, (..., 3, H, W).
    """
    mean, std = (
        torch.tensor(values, device=images.device)[:, None, None]
        for values in (Defaults.mean, Defaults.std)
    )
    return (images.float() - 255 * mean) / (255 * std)
