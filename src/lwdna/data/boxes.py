"""Boxes of random area and aspect ratio inside images, drawn for many images at once.

Boxes are (top, left, height, width) in pixels, int64, shape (B, 4), always made on the CPU so that
they are the same whatever the training device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lwdna.data.settings import Range

_TRIES = 10
NUMBERS = 2 * _TRIES + 2
"""How many random numbers a box takes."""


def random_boxes(numbers: Tensor, sizes: Tensor, scale: Range, ratio: Range) -> Tensor:
    """Draw boxes as torchvision's ``RandomResizedCrop`` does: ten tries, else a central crop.

    Args:
        numbers: from 0 to 1, shape (B, :data:`NUMBERS`).
        sizes: heights and widths of the images, shape (B, 2).
        scale: range of the area, as a fraction of the image's.
        ratio: range of width over height.

    Returns:
        Boxes, shape (B, 4).
    """
    height, width = sizes[:, :1].float(), sizes[:, 1:].float()
    area = height * width * (scale[0] + numbers[:, :_TRIES] * (scale[1] - scale[0]))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + numbers[:, _TRIES : 2 * _TRIES] * (high - low))
    tried = torch.stack([(area / aspect).sqrt().round(), (area * aspect).sqrt().round()], dim=2)
    limits = torch.stack([height, width], dim=2)
    fits = ((tried >= 1) & (tried <= limits)).all(dim=2)
    first = torch.where(fits, torch.arange(_TRIES), _TRIES).amin(dim=1)
    last_resort = torch.stack(
        [
            torch.minimum(height, (width / ratio[0]).round()),
            torch.minimum(width, (height * ratio[1]).round()),
        ],
        dim=2,
    )
    candidates = torch.cat([tried, last_resort.clamp(min=1)], dim=1)
    box = candidates[torch.arange(len(first)), first]
    room = limits[:, 0] - box
    place = (numbers[:, 2 * _TRIES :] * (room + 1)).floor().minimum(room)
    central = (first == _TRIES)[:, None]
    place = torch.where(central, (room / 2).floor(), place)
    return torch.cat([place, box], dim=1).long()
