"""Pillow images to arrays of the network's size, by torchvision's v2 transforms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from lwdna.data.crops import CropAndFlip, fit
from lwdna.data.draws import Stream, draw_seed
from lwdna.data.image_files import Pixels, decode, size_of
from lwdna.data.images import ImageSet
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
        self.in_chans = settings.in_chans
        self.crop = CropAndFlip(settings)
        self.colour = colour_transform(settings.augment)

    def __call__(
        self, images: ImageSet, indices: Sequence[int], seed: int, epoch: int
    ) -> list[Pixels]:
        """Return one batch, each uint8, shape (image_size, image_size, in_chans)."""
        batch: list[Pixels] = []
        with torch.random.fork_rng(devices=[], enabled=self.colour is not None):
            for start in range(0, len(indices), _CHUNK):
                batch += self._chunk(images, indices[start : start + _CHUNK], seed, epoch)
        return batch

    def _chunk(
        self, images: ImageSet, indices: Sequence[int], seed: int, epoch: int
    ) -> list[Pixels]:
        # headers first: all crops are then drawn at once, which costs far less than one by one
        opened = [images.open(index) for index in indices]
        sizes = torch.tensor([size_of(image)[::-1] for image in opened])
        boxes, flips = self.crop.draw(seed, epoch, torch.tensor(indices), sizes)
        drawn = zip(indices, boxes.tolist(), flips.tolist(), strict=True)
        chunk = []
        for position, (index, box, flip) in enumerate(drawn):
            image = decode(opened[position], self.in_chans, images.name(index))
            opened[position] = image  # lets go of the encoded bytes
            image = self.crop.image(self.crop.prepare(image), box, flip)
            if self.colour is not None:
                # torchvision draws from torch's global generator, which the caller has forked
                torch.default_generator.manual_seed(draw_seed(seed, epoch, index, Stream.COLOUR))
                image = self.colour(image)
            chunk.append(to_array(image))
        return chunk


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
