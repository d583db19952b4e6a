"""Images of a set as they are trained on and validated: arrays of the network's size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from lwdna.data.crops import CropAndFlip, fit
from lwdna.data.draws import Stream, draw_seed
from lwdna.data.image_files import Pixels, decode, size_of
from lwdna.data.images import ImageSet
from lwdna.data.regions import read_region
from lwdna.data.settings import AugmentSettings, ResolvedData
from lwdna.interface import Preprocessing

_CHUNK = 32
"""Images opened, but not yet decoded, at a time."""


def to_array(image: Image.Image) -> Pixels:
    """Copy the pixels, shape (H, W, C)."""
    pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


class EvalTransform:
    """Images as they are validated: shorter side resized, centre cropped."""

    def __init__(self, settings: ResolvedData | Preprocessing) -> None:
        self.settings = settings
        self.mode = InterpolationMode(settings.interpolation)

    def __call__(self, images: ImageSet, index: int) -> Pixels:
        """Return one image of a set, uint8, shape (image_size, image_size, in_chans)."""
        return self.pixels(images.open(index), images.name(index))

    def pixels(self, image: Image.Image, name: str) -> Pixels:
        """Return an opened image, uint8, shape (image_size, image_size, in_chans).

        Raises:
            DataError: it is damaged; ``name`` says which it is.
        """
        decoded = decode(image, self.settings.in_chans, name)
        return to_array(fit(decoded, self.settings.resize, self.settings.image_size, self.mode))


class TrainTransform:
    """Images as they are trained on: cropped and flipped at random, then perhaps recoloured."""

    def __init__(self, settings: ResolvedData) -> None:
        self.settings = settings
        self.crop = CropAndFlip(settings)
        self.colour = colour_transform(settings.augment)

    def __call__(
        self, images: ImageSet, indices: Sequence[int], seed: int, epoch: int
    ) -> list[Tensor]:
        """Return one batch, each uint8, shape (in_chans, image_size, image_size).

        Raises:
            DataError: an image is missing or damaged.
        """
        batch: list[Tensor] = []
        with torch.random.fork_rng(devices=[], enabled=self.colour is not None):
            for start in range(0, len(indices), _CHUNK):
                batch += self._chunk(images, indices[start : start + _CHUNK], seed, epoch)
        return batch

    def _chunk(
        self, images: ImageSet, indices: Sequence[int], seed: int, epoch: int
    ) -> list[Tensor]:
        opened, boxes, flips = open_and_draw(self.crop, images, indices, seed, epoch)
        drawn = zip(indices, boxes.tolist(), flips.tolist(), strict=True)
        chunk = []
        for position, (index, box, flip) in enumerate(drawn):
            image, opened[position] = opened[position], None  # lets go of it when it is done
            assert image is not None
            pixels = self._cropped(image, box, flip, images.name(index))
            if self.colour is not None:
                # torchvision draws from torch's global generator, which the caller has forked
                torch.default_generator.manual_seed(draw_seed(seed, epoch, index, Stream.COLOUR))
                pixels = _recoloured(self.colour, pixels)
            chunk.append(pixels)
        return chunk

    def _cropped(self, image: Image.Image, box: Sequence[int], flip: bool, name: str) -> Tensor:
        settings = self.settings
        if self.crop.resizes:
            pixels = read_region(
                image, box, settings.image_size, settings.interpolation, settings.in_chans, name
            )
            return pixels.flip(2) if flip else pixels
        prepared = self.crop.prepare(decode(image, settings.in_chans, name))
        return torch.from_numpy(to_array(self.crop.image(prepared, box, flip))).permute(2, 0, 1)


def open_and_draw(
    crop: CropAndFlip, images: ImageSet, indices: Sequence[int], seed: int, epoch: int
) -> tuple[list[Image.Image | None], Tensor, Tensor]:
    """Open images, and draw boxes, shape (B, 4), and which of them are flipped, shape (B,).

    All are drawn at once, which costs far less than one by one.
    """
    opened: list[Image.Image | None] = []
    sizes = []
    for index in indices:
        image = images.open(index)
        opened.append(image)
        sizes.append(size_of(image)[::-1])
    return opened, *crop.draw(seed, epoch, torch.tensor(indices), torch.tensor(sizes))


def _recoloured(colour: v2.Transform, pixels: Tensor) -> Tensor:
    """Change the colours of an image, shape (C, H, W), as Pillow does."""
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(array if array.shape[2] > 1 else array[:, :, 0])
    return torch.from_numpy(to_array(colour(image))).permute(2, 0, 1)


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
