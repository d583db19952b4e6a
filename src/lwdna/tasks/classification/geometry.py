"""Where to crop, flip and erase, drawn for many images at once; and doing so to whole batches.

Boxes are (top, left, height, width) in pixels, int64, shape (B, 4), always made on the CPU so that
they are the same whatever the training device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lwdna.tasks.classification.settings import Interpolation, Range, ResolvedAugment
from lwdna.tasks.draws import Stream, uniforms

_TRIES = 10
_ERASE_SCALE: Range = (0.02, 1 / 3)
_ERASE_RATIO: Range = (0.3, 3.3)


def draw_crops(
    augment: ResolvedAugment, seed: int, epoch: int, indices: Tensor, sizes: Tensor, side: int
) -> Tensor:
    """Draw the crop of every image.

    Args:
        augment: which crop, and its ranges.
        seed: seed of the run.
        epoch: number of the epoch.
        indices: example numbers, int64, shape (B,).
        sizes: heights and widths of the images, shape (B, 2).
        side: image size of the network; the size of every image unless the crop is
            ``random-resized``.

    Returns:
        Boxes, shape (B, 4). Those of ``pad`` reach beyond the image by up to its padding.
    """
    if augment.crop == "random-resized":
        numbers = uniforms(seed, epoch, indices, 2 * _TRIES + 2, Stream.CROP)
        return _random_boxes(numbers, sizes, augment.scale, augment.ratio)
    corner = torch.zeros(len(indices), 2, dtype=torch.int64)
    if augment.crop == "pad":
        numbers = uniforms(seed, epoch, indices, 2, Stream.CROP)
        corner = (numbers * (2 * augment.padding + 1)).long() - augment.padding
    return torch.cat([corner, torch.full_like(corner, side)], dim=1)


def draw_flips(augment: ResolvedAugment, seed: int, epoch: int, indices: Tensor) -> Tensor:
    """Draw which images are mirrored: bool, shape (B,)."""
    return uniforms(seed, epoch, indices, 1, Stream.FLIP)[:, 0] < augment.horizontal_flip


def draw_erasures(
    augment: ResolvedAugment, seed: int, epoch: int, indices: Tensor, side: int
) -> Tensor:
    """Draw the box erased from every image; its size is 0 where nothing is.

    Ranges of area and aspect ratio as in Zhong et al. 2020 ("Random erasing data augmentation").
    """
    numbers = uniforms(seed, epoch, indices, 2 * _TRIES + 3, Stream.ERASE)
    sizes = torch.full((len(indices), 2), side)
    boxes = _random_boxes(numbers[:, 1:], sizes, _ERASE_SCALE, _ERASE_RATIO)
    return boxes * (numbers[:, :1] < augment.random_erasing)


def _random_boxes(numbers: Tensor, sizes: Tensor, scale: Range, ratio: Range) -> Tensor:
    """Draw boxes as torchvision's ``RandomResizedCrop`` does: ten tries, else a central crop."""
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


def crop_padded(images: Tensor, boxes: Tensor, flips: Tensor, padding: int) -> Tensor:
    """Cut boxes of one size out of images framed by ``padding`` zeros, and mirror some.

    Args:
        images: shape (B, C, H, W), any type.
        boxes: as :func:`draw_crops` gives for ``pad`` or ``none``, on the device of ``images``.
        flips: bool, shape (B,).
        padding: how far the boxes may reach beyond the image.
    """
    if padding:
        height, width = images.shape[2:]
        framed = F.pad(images, (padding,) * 4)
        windows = framed.unfold(2, height, 1).unfold(3, width, 1)
        rows = torch.arange(len(images), device=images.device)
        images = windows[rows, :, boxes[:, 0] + padding, boxes[:, 1] + padding]
    return torch.where(flips[:, None, None, None], images.flip(3), images)


def crop_resized(
    images: Tensor, boxes: Tensor, flips: Tensor, side: int, interpolation: Interpolation
) -> Tensor:
    """Cut a box out of every image, resize it with antialiasing, and mirror some.

    Resizing is separable and linear, so every image is multiplied by a matrix from the left (rows)
    and one from the right (columns); the filters are Pillow's.

    Args:
        images: shape (B, C, H, W), values 0 to 255.
        boxes: shape (B, 4), inside the images, on the device of ``images``.
        flips: bool, shape (B,).
        side: height and width of the result.
        interpolation: the filter.

    Returns:
        Float32, shape (B, C, side, side), values 0 to 255.
    """
    rows = _resize_matrix(boxes[:, 0], boxes[:, 2], images.shape[2], side, interpolation)
    columns = _resize_matrix(boxes[:, 1], boxes[:, 3], images.shape[3], side, interpolation)
    columns = torch.where(flips[:, None, None], columns.flip(1), columns)
    resized = rows[:, None] @ images.float() @ columns.transpose(1, 2)[:, None]
    return resized.clamp_(0, 255)


def _resize_matrix(
    start: Tensor, length: Tensor, old: int, new: int, interpolation: Interpolation
) -> Tensor:
    """Weights of the ``old`` pixels in each of the ``new`` ones, shape (B, new, old)."""
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


def erase(images: Tensor, boxes: Tensor) -> Tensor:
    """Set a box of every (normalised) image to 0, the mean colour, in place."""
    top, left, height, width = boxes.T[:, :, None]
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device)
    inside = ((rows >= top) & (rows < top + height))[:, :, None] & (
        (columns >= left) & (columns < left + width)
    )[:, None]
    return images.masked_fill_(inside[:, None], 0.0)
