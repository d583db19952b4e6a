"""Whole sets of small images held, decoded, on the training device, and augmented there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import InterpolationMode

from lwdna.errors import DataError
from lwdna.tasks.classification.cache import cached
from lwdna.tasks.classification.geometry import crop_padded, crop_resized, draw_crops, draw_flips
from lwdna.tasks.classification.images import ImageSet
from lwdna.tasks.classification.mapped import Order
from lwdna.tasks.classification.settings import ResolvedData
from lwdna.tasks.classification.transforms import EvalTransform, fit, to_array
from lwdna.tasks.image_files import decode
from lwdna.tasks.progress import follow

Pixels = NDArray[np.uint8]
Read = Callable[[ImageSet, int], Pixels]
_MAX_BYTES = 10**9
_MAX_SIDE = 96
"""Larger images count as photographs of any size; looking at all of them would take minutes."""
_CHUNK = 256


class MixedSizes(DataError):
    """Images of different sizes, which cannot share one array."""


class MemoryBatches:
    """Batches cut out of one array, on whatever device they are asked for.

    Args:
        images: the images, read when the object is made.
        settings: how to transform them.
        training: whether to augment them.

    Raises:
        MixedSizes: random resized crops need the images as they are, and their sizes differ.
        DataError: an image is missing or damaged.
    """

    def __init__(self, images: ImageSet, settings: ResolvedData, training: bool) -> None:
        self._settings = settings
        self._training = training
        pixels = torch.from_numpy(_load(images, settings, training))
        self._pixels = pixels.permute(0, 3, 1, 2).contiguous()
        self._targets = torch.from_numpy(images.labels)

    def __call__(
        self, orders: Sequence[Order], device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one batch per order on ``device``; all orders are of one epoch.

        Images have shape (B, C, H, W) and values 0 to 255, uint8 or float32.
        """
        self._pixels = self._pixels.to(device)
        self._targets = self._targets.to(device)
        if not orders:
            return
        numbers = torch.tensor([index for order in orders for index in order.indices])
        lengths = [len(order.indices) for order in orders]
        # drawn and moved once, because every copy to a GPU waits until it has done all its work
        draws = self._draw(numbers, orders[0]) if self._training else ()
        columns = [column.to(device).split(lengths) for column in (numbers, *draws)]
        for chosen, *places in zip(*columns, strict=True):
            images = self._pixels[chosen]
            yield self._augment(images, *places) if places else images, self._targets[chosen]

    def _draw(self, numbers: Tensor, order: Order) -> tuple[Tensor, Tensor]:
        """Return crop and flip of every example, in the epoch of ``order``."""
        augment, side = self._settings.augment, self._settings.image_size
        sizes = torch.tensor(self._pixels.shape[2:]).expand(len(numbers), 2)
        boxes = draw_crops(augment, order.seed, order.epoch, numbers, sizes, side)
        return boxes, draw_flips(augment, order.seed, order.epoch, numbers)

    def _augment(self, images: Tensor, boxes: Tensor, flips: Tensor) -> Tensor:
        augment, side = self._settings.augment, self._settings.image_size
        if augment.crop == "random-resized":
            return crop_resized(images, boxes, flips, side, self._settings.interpolation)
        padding = augment.padding if augment.crop == "pad" else 0
        return crop_padded(images, boxes, flips, padding)


def fits_in_memory(images: ImageSet, settings: ResolvedData) -> bool:
    """Judge by the first image whether a set is small enough to be held in memory."""
    width, height = images.open(0).size
    side = max(width, height, settings.image_size)
    return side <= _MAX_SIDE and side**2 * settings.in_chans * len(images.labels) <= _MAX_BYTES


def _load(images: ImageSet, settings: ResolvedData, training: bool) -> Pixels:
    """Read all images, shape (N, H, W, C)."""
    read: Read = EvalTransform(settings)
    recipe = f"eval {settings.image_size} {settings.resize} {settings.interpolation}"
    if training and settings.augment.crop == "random-resized":
        read, recipe = _AsStored(settings), "as stored"
    elif training:
        read, recipe = _Fitted(settings), f"fit {settings.image_size} {settings.interpolation}"
    state = images.fingerprint()
    key = None
    if state is not None:
        text = f"1 {recipe} {settings.in_chans} {state}"
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
    return cached(key, lambda: _decode_all(images, read))


class _AsStored:
    """Images in their own size."""

    def __init__(self, settings: ResolvedData) -> None:
        self._in_chans = settings.in_chans

    def __call__(self, images: ImageSet, index: int) -> Pixels:
        return to_array(decode(images.open(index), self._in_chans, images.name(index)))


class _Fitted:
    """Images in the network's size, whole but for what makes them square."""

    def __init__(self, settings: ResolvedData) -> None:
        self._in_chans = settings.in_chans
        self._side = settings.image_size
        self._mode = InterpolationMode(settings.interpolation)

    def __call__(self, images: ImageSet, index: int) -> Pixels:
        image = decode(images.open(index), self._in_chans, images.name(index))
        return to_array(fit(image, self._side, self._side, self._mode))


def _decode_all(images: ImageSet, read: Read) -> Pixels:
    first = read(images, 0)
    count = len(images.labels)
    pixels = np.empty((count, *first.shape), dtype=np.uint8)

    def work(start: int) -> int:
        stop = min(start + _CHUNK, count)
        for index in range(start, stop):
            image = read(images, index)
            if image.shape != first.shape:
                raise MixedSizes(
                    f"{images.name(index)} has {image.shape[1]}x{image.shape[0]} pixels, but "
                    f"{images.name(0)} has {first.shape[1]}x{first.shape[0]}; set data.in_memory "
                    "to auto, or data.augment.crop to pad or none"
                )
            pixels[index] = image
        return stop - start

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            follow(pool.map(work, range(0, count, _CHUNK)), count)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return pixels
