"""Images with labels as tasks read them: training and validation batches on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lwdna.data.batch_order import Order
from lwdna.data.erasing import draw_erasures, erase
from lwdna.data.images import ImageSet
from lwdna.data.normalise import Normalise
from lwdna.data.reader import ImageReader
from lwdna.data.settings import ResolvedData
from lwdna.interface import Preprocessing


class LabelledImages:
    """Both halves of a set of images, read as the settings say.

    Args:
        train: the images to train on, with their labels.
        val: the images to validate on.
        data: how images are read and augmented.
    """

    def __init__(self, train: ImageSet, val: ImageSet, data: ResolvedData) -> None:
        self._data = data
        self._train = ImageReader(train, data, training=True)
        self._eval = ImageReader(val, data, training=False)
        self._normalise = Normalise(data.mean, data.std)

    def train_batches(
        self, batches: Sequence[Sequence[int]], *, seed: int, epoch: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor, Order]]:
        """Yield augmented and normalised images, float32, shape (B, C, H, W), their labels, int64,
        shape (B,), and their order, per list of example indices.

        Raises:
            DataError: an image is missing or damaged.
        """
        orders = [Order([int(i) for i in indices], seed, epoch) for indices in batches]
        for order, (pixels, labels) in zip(orders, self._train(orders, device), strict=True):
            images = self._normalise(pixels)
            if self._data.augment.random_erasing:
                numbers = torch.tensor(order.indices)
                side = self._data.image_size
                boxes = draw_erasures(self._data.augment, seed, epoch, numbers, side)
                erase(images, boxes.to(device))
            yield images, labels, order

    def eval_batches(
        self, batches: Sequence[Sequence[int]], *, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalised images and their labels per list of example indices.

        Raises:
            DataError: an image is missing or damaged.
        """
        orders = [Order([int(i) for i in indices]) for indices in batches]
        for pixels, labels in self._eval(orders, device):
            yield self._normalise(pixels), labels

    def preprocessing(self) -> Preprocessing:
        """Return how validation images become the network's input."""
        own = {name: getattr(self._data, name) for name in Preprocessing.model_fields}
        return Preprocessing(**own)

    def example_inputs(self) -> Tensor:
        """Return noise distributed as normalised images are, shape (1, C, H, W)."""
        size = (1, self._data.in_chans, self._data.image_size, self._data.image_size)
        return torch.randn(size, generator=torch.Generator().manual_seed(0))
