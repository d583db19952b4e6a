"""Batches of a set of images, read the way its settings ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lwdna.data.batch_order import Order
from lwdna.data.images import ImageSet
from lwdna.data.memory_batches import MemoryBatches, MixedSizes, fits_in_memory
from lwdna.data.settings import ResolvedData
from lwdna.data.shards import FetchesAhead
from lwdna.data.worker_batches import WorkerBatches


class ImageReader:
    """Read images the way the settings ask for; which way that is shows when they are first read.

    With ``in_memory: auto`` this reads small sets into memory, and falls back to reading from
    files where the images turn out to differ in size.

    Args:
        images: the images.
        settings: how to read and transform them.
        training: whether to augment them.
    """

    def __init__(self, images: ImageSet, settings: ResolvedData, *, training: bool) -> None:
        self._images = images
        self._settings = settings
        self._training = training
        self._batches: WorkerBatches | MemoryBatches | None = None

    def __call__(
        self, orders: Sequence[Order], device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one batch per order on ``device``; all orders are of one epoch.

        Images have shape (B, C, H, W) and values 0 to 255, uint8 or float32; classes are int64,
        shape (B,).

        Raises:
            DataError: an image is missing or damaged, or a worker process has died.
        """
        if self._batches is None:
            self._batches = self._choose()
        batches = self._batches(orders, device)
        if isinstance(self._images, FetchesAhead):
            return self._images.ahead(batches, [order.indices for order in orders])
        return batches

    def _choose(self) -> WorkerBatches | MemoryBatches:
        images, settings, training = self._images, self._settings, self._training
        if settings.in_memory is True:
            return MemoryBatches(images, settings, training)
        possible = settings.in_memory == "auto" and not (training and settings.augment.needs_pil)
        if possible and fits_in_memory(images, settings):
            try:
                return MemoryBatches(images, settings, training)
            except MixedSizes:
                pass
        return WorkerBatches(images, settings, training)
