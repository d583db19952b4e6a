"""Whole sets of small images held, decoded, on the training device, and augmented there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from lwdna.data.batch_order import Order
from lwdna.data.cache import cached
from lwdna.data.crops import CropAndFlip
from lwdna.data.image_files import DECODING, Pixels, decode
from lwdna.data.image_transforms import EvalTransform, to_array
from lwdna.data.images import ImageSet
from lwdna.data.progress import follow
from lwdna.data.settings import ResolvedData
from lwdna.errors import DataError

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
        self._crop = CropAndFlip(settings) if training else None
        pixels = torch.from_numpy(_load(images, settings, self._crop))
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
        draws: tuple[Tensor, ...] = ()
        if self._crop is not None:
            sizes = torch.tensor(self._pixels.shape[2:]).expand(len(numbers), 2)
            draws = self._crop.draw(orders[0].seed, orders[0].epoch, numbers, sizes)
        columns = [column.to(device).split(lengths) for column in (numbers, *draws)]
        for chosen, *places in zip(*columns, strict=True):
            images = self._pixels[chosen]
            if self._crop is not None:
                images = self._crop.batch(images, *places)
            yield images, self._targets[chosen]


def fits_in_memory(images: ImageSet, settings: ResolvedData) -> bool:
    """Judge by the first image whether a set is small enough to be held in memory."""
    width, height = images.open(0).size
    side = max(width, height, settings.image_size)
    return side <= _MAX_SIDE and side**2 * settings.in_chans * len(images.labels) <= _MAX_BYTES


def _load(images: ImageSet, settings: ResolvedData, crop: CropAndFlip | None) -> Pixels:
    """Read all images, shape (N, H, W, C), prepared for a crop or as they are validated."""
    if crop is None:
        read: Read = EvalTransform(settings)
        recipe = f"eval {settings.image_size} {settings.resize} {settings.interpolation}"
    else:
        read, recipe = _Prepared(crop, settings.in_chans), crop.preparation
    state = images.fingerprint()
    key = None
    if state is not None:
        text = f"{DECODING} {recipe} {settings.in_chans} {state}"
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
    return cached(key, lambda: _decode_all(images, read))


class _Prepared:
    """Images ready to be cropped."""

    def __init__(self, crop: CropAndFlip, in_chans: int) -> None:
        self._crop = crop
        self._in_chans = in_chans

    def __call__(self, images: ImageSet, index: int) -> Pixels:
        image = decode(images.open(index), self._in_chans, images.name(index))
        return to_array(self._crop.prepare(image))


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
