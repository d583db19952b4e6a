"""Random erasing (Zhong et al. 2020), of whole batches."""

from __future__ import annotations

import torch
from torch import Tensor

from lwdna.data.boxes import NUMBERS, random_boxes
from lwdna.data.draws import Stream, uniforms
from lwdna.data.settings import Range, ResolvedAugment

_SCALE: Range = (0.02, 1 / 3)
_RATIO: Range = (0.3, 3.3)


def draw_erasures(
    augment: ResolvedAugment, seed: int, epoch: int, indices: Tensor, side: int
) -> Tensor:
    """Draw the box erased from every image; its size is 0 where nothing is.

    Ranges of area and aspect ratio as in the paper ("Random erasing data augmentation").
    """
    numbers = uniforms(seed, epoch, indices, 1 + NUMBERS, Stream.ERASE)
    sizes = torch.full((len(indices), 2), side)
    boxes = random_boxes(numbers[:, 1:], sizes, _SCALE, _RATIO)
    return boxes * (numbers[:, :1] < augment.random_erasing)


def erase(images: Tensor, boxes: Tensor) -> Tensor:
    """Set a box of every (normalised) image to 0, the mean colour, in place."""
    top, left, height, width = boxes.T[:, :, None]
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device)
    inside = ((rows >= top) & (rows < top + height))[:, :, None] & (
        (columns >= left) & (columns < left + width)
    )[:, None]
    return images.masked_fill_(inside[:, None], 0.0)
