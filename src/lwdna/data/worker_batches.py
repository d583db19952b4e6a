"""Batches read from files by worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from lwdna.data.batch_order import Order
from lwdna.data.image_transforms import EvalTransform, TrainTransform
from lwdna.data.images import ImageSet
from lwdna.data.settings import ResolvedData
from lwdna.errors import DataError

Raw = tuple[Tensor, Tensor]
"""Images, uint8, shape (B, C, H, W), and their classes, int64, shape (B,)."""


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; only the main one knows how to stop well."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class WorkerBatches:
    """Read batches in ``settings.workers`` processes, which live as long as this object.

    Args:
        images: the images.
        settings: how to transform them.
        training: whether to augment them.
    """

    def __init__(self, images: ImageSet, settings: ResolvedData, training: bool) -> None:
        self._dataset = _OrderedImages(images, settings, training)
        self._workers = settings.workers
        self._orders = _Orders()
        self._loader: DataLoader[Raw | str] | None = None
        self._pinned = False
        self._busy = False

    def __call__(self, orders: Sequence[Order], device: torch.device) -> Iterator[Raw]:
        """Yield one batch per order on ``device``.

        Raises:
            DataError: an image is missing or damaged, or a worker process has died.
        """
        if self._busy:  # the workers serve one reader at a time
            loader = self._make_loader(_Orders(orders), device)
            yield from self._read(loader, device)
            return
        pinned = device.type == "cuda"
        if self._loader is None or self._pinned != pinned:
            self._loader, self._pinned = self._make_loader(self._orders, device, True), pinned
        self._busy, self._orders.orders = True, orders
        try:
            yield from self._read(self._loader, device)
        finally:
            self._busy = False

    def _make_loader(
        self, orders: _Orders, device: torch.device, persistent: bool = False
    ) -> DataLoader[Raw | str]:
        return DataLoader(
            self._dataset,
            batch_size=None,
            sampler=orders,
            num_workers=self._workers,
            pin_memory=device.type == "cuda",
            persistent_workers=persistent and self._workers > 0,
            worker_init_fn=_leave_signals_to_the_parent,
            # without a generator of its own the loader would draw from the global one
            generator=torch.Generator(),
        )

    def _read(self, loader: DataLoader[Raw | str], device: torch.device) -> Iterator[Raw]:
        try:
            for batch in loader:
                if isinstance(batch, str):
                    raise DataError(batch)
                pixels, targets = batch
                pixels = pixels.to(device, non_blocking=True).permute(0, 3, 1, 2)
                yield pixels, targets.to(device, non_blocking=True)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error) or "Traceback" in str(error):
                raise
            self._loader = None
            raise DataError(
                "a process that reads images died, probably for want of memory (or of shared "
                "memory, /dev/shm); lower data.workers or the batch size"
            ) from error


class _Orders:
    """The sampler: one order makes one batch."""

    def __init__(self, orders: Sequence[Order] = ()) -> None:
        self.orders = orders

    def __iter__(self) -> Iterator[Order]:
        return iter(self.orders)

    def __len__(self) -> int:
        return len(self.orders)


class _OrderedImages(Dataset[Raw | str]):
    """Turn an order into a batch, images last-channel, or into the message of a data error.

    Workers hand errors over as plain values because the loader would wrap an exception's message
    in the worker's traceback.
    """

    def __init__(self, images: ImageSet, settings: ResolvedData, training: bool) -> None:
        self._images = images
        self._train = TrainTransform(settings) if training else None
        self._eval = EvalTransform(settings)

    def __getitem__(self, order: Order) -> Raw | str:
        try:
            if self._train is not None:
                batch = self._train(self._images, order.indices, order.seed, order.epoch)
            else:
                batch = [self._eval(self._images, index) for index in order.indices]
        except DataError as error:
            return str(error)
        # the default collation of a worker stacks into shared memory at once
        pixels = default_collate([torch.from_numpy(image) for image in batch])
        return pixels, torch.from_numpy(self._images.labels[order.indices])
