"""Batches read from files by worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from lwdna.data.batch_order import Order
from lwdna.data.gpu_decoding import EncodedBatch, EncodedTransform, decode_batch
from lwdna.data.image_transforms import EvalTransform, TrainTransform
from lwdna.data.images import ImageSet
from lwdna.data.prefetch import prefetched
from lwdna.data.settings import ResolvedData
from lwdna.errors import DataError

Raw = tuple[Tensor, Tensor]
"""Images, values 0 to 255, shape (B, C, H, W), and their classes, int64, shape (B,)."""
Ready = Raw | EncodedBatch
"""What the workers hand over."""


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; only the main one knows how to stop well."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class WorkerBatches:
    """Read batches in ``settings.workers`` processes, which live as long as this object.

    For a GPU a thread takes them over and moves them there, ahead of the training and beside it.

    Args:
        images: the images.
        settings: how to transform them.
        training: whether to augment them.
    """

    def __init__(self, images: ImageSet, settings: ResolvedData, training: bool) -> None:
        self._images = images
        self._settings = settings
        self._training = training
        self._orders = _Orders()
        self._loader: DataLoader[Ready | str] | None = None
        self._device_type = ""
        self._busy = False

    def __call__(self, orders: Sequence[Order], device: torch.device) -> Iterator[Raw]:
        """Yield one batch per order on ``device``.

        Raises:
            DataError: an image is missing or damaged, or a worker process has died.
        """
        with self._reading(orders, device) as batches:
            yield from prefetched(batches, device) if device.type == "cuda" else batches

    @contextmanager
    def _reading(self, orders: Sequence[Order], device: torch.device) -> Iterator[Iterator[Raw]]:
        if self._busy:  # the workers serve one reader at a time
            yield self._read(self._make_loader(_Orders(orders), device), device)
            return
        if self._loader is None or self._device_type != device.type:
            self._loader = self._make_loader(self._orders, device, persistent=True)
            self._device_type = device.type
        self._busy, self._orders.orders = True, orders
        try:
            yield self._read(self._loader, device)
        finally:
            self._busy = False

    def _make_loader(
        self, orders: _Orders, device: torch.device, persistent: bool = False
    ) -> DataLoader[Ready | str]:
        cuda, settings = device.type == "cuda", self._settings
        on_gpu = cuda and self._training and settings.decode == "gpu"
        on_gpu = on_gpu and settings.augment.crop == "random-resized"
        return DataLoader(
            _OrderedImages(self._images, settings, self._training, encoded=on_gpu),
            batch_size=None,
            sampler=orders,
            num_workers=settings.workers,
            pin_memory=cuda and not on_gpu,
            persistent_workers=persistent and settings.workers > 0,
            worker_init_fn=_leave_signals_to_the_parent,
            # without a generator of its own the loader would draw from the global one
            generator=torch.Generator(),
        )

    def _read(self, loader: DataLoader[Ready | str], device: torch.device) -> Iterator[Raw]:
        # now: whatever thread goes on, the one that forks should not leave others half-way
        return self._on(iter(loader), device)

    def _on(self, batches: Iterator[Ready | str], device: torch.device) -> Iterator[Raw]:
        try:
            for batch in batches:
                if isinstance(batch, str):
                    raise DataError(batch)
                if isinstance(batch, EncodedBatch):
                    yield decode_batch(batch, self._settings, device)
                    continue
                pixels, targets = batch
                yield (
                    pixels.to(device, non_blocking=True),
                    targets.to(device, non_blocking=True),
                )
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


class _OrderedImages(Dataset[Ready | str]):
    """Turn an order into a batch, or into the message of a data error.

    Workers hand errors over as plain values because the loader would wrap an exception's message
    in the worker's traceback.
    """

    def __init__(
        self, images: ImageSet, settings: ResolvedData, training: bool, *, encoded: bool
    ) -> None:
        self._images = images
        self._encoded = EncodedTransform(settings) if encoded else None
        self._train = TrainTransform(settings) if training else None
        self._eval = EvalTransform(settings)

    def __getitem__(self, order: Order) -> Ready | str:
        drawn = (self._images, order.indices, order.seed, order.epoch)
        try:
            if self._encoded is not None:
                return self._encoded(*drawn)
            if self._train is not None:
                batch = self._train(*drawn)
            else:
                arrays = (self._eval(self._images, index) for index in order.indices)
                batch = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
        except DataError as error:
            return str(error)
        # the default collation of a worker stacks into shared memory at once
        return default_collate(batch), torch.from_numpy(self._images.labels[order.indices])
