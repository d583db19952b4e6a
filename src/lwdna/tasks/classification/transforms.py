"""Pillow images to arrays of the network's size, by torchvision's v2 transforms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from lwdna.tasks.classification.geometry import draw_crops, draw_flips
from lwdna.tasks.classification.images import ImageSet
from lwdna.tasks.classification.settings import AugmentSettings, ResolvedData
from lwdna.tasks.draws import Stream, draw_seed
from lwdna.tasks.image_files import decode

_CHUNK = 32
"""Images opened, but not yet decoded, at a time."""


def fit(image: Image.Image, shorter: int, side: int, mode: InterpolationMode) -> Image.Image:
    """Resize the shorter side to ``shorter`` pixels and cut out the central square."""
    if image.size == (side, side) and shorter == side:
        return image
    resized = F.resize(image, [shorter], interpolation=mode)
    cropped: Image.Image = F.center_crop(resized, [side, side])
    return cropped


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Copy the pixels, shape (H, W, C)."""
    pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


class EvalTransform:
    """Images as they are validated: shorter side resized, centre cropped."""

    def __init__(self, settings: ResolvedData) -> None:
        self.settings = settings
        self.mode = InterpolationMode(settings.interpolation)

    def __call__(self, images: ImageSet, index: int) -> NDArray[np.uint8]:
        """Return one image, uint8, shape (image_size, image_size, in_chans)."""
        image = decode(images.open(index), self.settings.in_chans, images.name(index))
        return to_array(fit(image, self.settings.resize, self.settings.image_size, self.mode))


class TrainTransform:
    """Images as they are trained on: cropped and flipped at random, then perhaps recoloured."""

    def __init__(self, settings: ResolvedData) -> None:
        self.settings = settings
        self.mode = InterpolationMode(settings.interpolation)
        self.colour = colour_transform(settings.augment)

    def __call__(
        self, images: ImageSet, indices: Sequence[int], seed: int, epoch: int
    ) -> list[NDArray[np.uint8]]:
        """Return one batch, each uint8, shape (image_size, image_size, in_chans)."""
        batch: list[NDArray[np.uint8]] = []
        with torch.random.fork_rng(devices=[], enabled=self.colour is not None):
            for start in range(0, len(indices), _CHUNK):
                batch += self._chunk(images, indices[start : start + _CHUNK], seed, epoch)
        return batch

    def _chunk(
        self, images: ImageSet, indices: Sequence[int], seed: int, epoch: int
    ) -> list[NDArray[np.uint8]]:
        # headers first: all crops are then drawn at once, which costs far less than one by one
        opened = [images.open(index) for index in indices]
        augment, side = self.settings.augment, self.settings.image_size
        numbers = torch.tensor(indices)
        sizes = torch.tensor([(image.height, image.width) for image in opened])
        boxes = draw_crops(augment, seed, epoch, numbers, sizes, side).tolist()
        flips = draw_flips(augment, seed, epoch, numbers).tolist()
        chunk = []
        for position, (index, box, flip) in enumerate(zip(indices, boxes, flips, strict=True)):
            image = decode(opened[position], self.settings.in_chans, images.name(index))
            opened[position] = image  # lets go of the encoded bytes
            image = self._cut(image, box)
            if flip:
                image = F.horizontal_flip(image)
            if self.colour is not None:
                # torchvision draws from torch's global generator, which the caller has forked
                torch.default_generator.manual_seed(draw_seed(seed, epoch, index, Stream.COLOUR))
                image = self.colour(image)
            chunk.append(to_array(image))
        return chunk

    def _cut(self, image: Image.Image, box: list[int]) -> Image.Image:
        side = self.settings.image_size
        if self.settings.augment.crop == "random-resized":
            image = F.resized_crop(image, *box, size=[side, side], interpolation=self.mode)
        else:
            image = fit(image, side, side, self.mode)
        if self.settings.augment.crop == "pad":
            image = F.crop(image, *box)  # zeros beyond the border
        return image


def colour_transform(augment: AugmentSettings) -> v2.Transform | None:
    """Return what changes colours (a policy also shears and rotates), or ``None``."""
    steps: list[v2.Transform] = []
    if augment.policy == "rand":
        steps.append(v2.RandAugment(augment.rand_ops, augment.rand_magnitude))
    elif augment.policy == "trivial":
        steps.append(v2.TrivialAugmentWide())
    if any(augment.color_jitter):
        brightness, contrast, saturation, hue = augment.color_jitter
        steps.append(v2.ColorJitter(brightness, contrast, saturation, hue))
    return v2.Compose(steps) if steps else None
