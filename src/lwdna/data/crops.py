"""Crop and flip: what is drawn for each training image, and doing it to one or to a batch.

Batches are tensors of decoded images on the training device; single images of a padded crop are
Pillow's, those of a resized one are cut out in :mod:`lwdna.data.regions`. Boxes are (top, left,
height, width) in pixels, int64, shape (B, 4).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from lwdna.data.boxes import NUMBERS, random_boxes
from lwdna.data.draws import Stream, uniforms
from lwdna.data.resampling import resize_matrix
from lwdna.data.settings import Interpolation, ResolvedAugment, ResolvedData


class CropAndFlip:
    """The crop and the flip (left and right swapped) of the training images of one data set.

    :meth:`draw` says what happens to each image; :meth:`batch` does it, and so does :meth:`image`
    unless the crop is resized, either of them to an image that :meth:`prepare` returned.
    """

    def __init__(self, settings: ResolvedData) -> None:
        self._augment = settings.augment
        self._side = settings.image_size
        self._interpolation: Interpolation = settings.interpolation
        self._mode = InterpolationMode(settings.interpolation)
        self.resizes = settings.augment.crop == "random-resized"
        """Whether the crop is one of any size, resized to the network's."""
        self._padding = settings.augment.padding if settings.augment.crop == "pad" else 0

    def draw(self, seed: int, epoch: int, indices: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Draw boxes, shape (B, 4), and which images are flipped, bool, shape (B,).

        Args:
            seed: seed of the run.
            epoch: number of the epoch.
            indices: example numbers, int64, shape (B,).
            sizes: heights and widths of the images, shape (B, 2).
        """
        boxes = draw_crops(self._augment, seed, epoch, indices, sizes, self._side)
        return boxes, draw_flips(self._augment, seed, epoch, indices)

    @property
    def preparation(self) -> str:
        """What :meth:`prepare` does, in words that tell one preparation from another."""
        return "as stored" if self.resizes else f"fit {self._side} {self._interpolation}"

    def prepare(self, image: Image.Image) -> Image.Image:
        """Do what depends on no draw: nothing before a resized crop, else make it square."""
        return image if self.resizes else fit(image, self._side, self._side, self._mode)

    def image(self, image: Image.Image, box: Sequence[int], flip: bool) -> Image.Image:
        """Crop and flip one prepared image by a box of the network's size."""
        if self._padding:
            image = F.crop(image, *box)  # zeros beyond the border
        return F.horizontal_flip(image) if flip else image

    def batch(self, images: Tensor, boxes: Tensor, flips: Tensor) -> Tensor:
        """Crop and flip prepared images of one size, shape (B, C, H, W), values 0 to 255."""
        if self.resizes:
            return crop_resized(images, boxes, flips, self._side, self._interpolation)
        return crop_padded(images, boxes, flips, self._padding)


def fit(image: Image.Image, shorter: int, side: int, mode: InterpolationMode) -> Image.Image:
    """Resize the shorter side to ``shorter`` pixels and cut out the central square."""
    if image.size == (side, side) and shorter == side:
        return image
    resized = F.resize(image, [shorter], interpolation=mode)
    cropped: Image.Image = F.center_crop(resized, [side, side])
    return cropped


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
        numbers = uniforms(seed, epoch, indices, NUMBERS, Stream.CROP)
        return random_boxes(numbers, sizes, augment.scale, augment.ratio)
    corner = torch.zeros(len(indices), 2, dtype=torch.int64)
    if augment.crop == "pad":
        numbers = uniforms(seed, epoch, indices, 2, Stream.CROP)
        corner = (numbers * (2 * augment.padding + 1)).long() - augment.padding
    return torch.cat([corner, torch.full_like(corner, side)], dim=1)


def draw_flips(augment: ResolvedAugment, seed: int, epoch: int, indices: Tensor) -> Tensor:
    """Draw which images are flipped: bool, shape (B,)."""
    return uniforms(seed, epoch, indices, 1, Stream.FLIP)[:, 0] < augment.horizontal_flip


def crop_padded(images: Tensor, boxes: Tensor, flips: Tensor, padding: int) -> Tensor:
    """Cut boxes of one size out of images framed by ``padding`` zeros, and flip some.

    Args:
        images: shape (B, C, H, W), any type.
        boxes: as :func:`draw_crops` gives for ``pad`` or ``none``, on the device of ``images``.
        flips: bool, shape (B,).
        padding: how far the boxes may reach beyond the image.
    """
    if padding:
        height, width = images.shape[2:]
        framed = pad(images, (padding,) * 4)
        windows = framed.unfold(2, height, 1).unfold(3, width, 1)
        rows = torch.arange(len(images), device=images.device)
        images = windows[rows, :, boxes[:, 0] + padding, boxes[:, 1] + padding]
    return torch.where(flips[:, None, None, None], images.flip(3), images)


def crop_resized(
    images: Tensor,
    boxes: Tensor,
    flips: Tensor,
    side: int,
    interpolation: Interpolation,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Cut a box out of every image, resize it with antialiasing, and flip some.

    Resizing is separable and linear, so every image is multiplied by a matrix from the left (rows)
    and one from the right (columns); the filters are Pillow's.

    Args:
        images: shape (B, C, H, W), values 0 to 255.
        boxes: shape (B, 4), inside the images, on the device of ``images``.
        flips: bool, shape (B,).
        side: height and width of the result.
        interpolation: the filter.
        dtype: in which to compute.

    Returns:
        Of ``dtype``, shape (B, C, side, side), values 0 to 255.
    """
    rows = resize_matrix(boxes[:, 0], boxes[:, 2], images.shape[2], side, interpolation)
    columns = resize_matrix(boxes[:, 1], boxes[:, 3], images.shape[3], side, interpolation)
    columns = torch.where(flips[:, None, None], columns.flip(1), columns)
    rows, columns = rows.to(dtype), columns.to(dtype)
    resized = rows[:, None] @ images.to(dtype) @ columns.transpose(1, 2)[:, None]
    return resized.clamp_(0, 255)
