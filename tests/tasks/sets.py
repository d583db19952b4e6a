"""Pictures for small data sets, and shorthands for reading all batches of a task."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lwdna.tasks.classification import ClassificationTask

CLASSES = ("ant", "bee", "cat")
CPU = torch.device("cpu")
Batches = list[tuple[Tensor, Tensor]]


def picture(seed: int, size: tuple[int, int] = (16, 16), mode: str = "RGB") -> Image.Image:
    """A smooth coloured picture of ``size`` (width, height), always the same."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def chunks(indices: Sequence[int], size: int) -> list[list[int]]:
    return [list(indices[start : start + size]) for start in range(0, len(indices), size)]


def train_all(
    task: ClassificationTask,
    size: int = 4,
    seed: int = 0,
    epoch: int = 0,
    order: Sequence[int] | None = None,
) -> Batches:
    indices = range(task.train_size) if order is None else order
    return list(task.train_batches(chunks(indices, size), seed=seed, epoch=epoch, device=CPU))


def eval_all(task: ClassificationTask, size: int = 4) -> Batches:
    return list(task.eval_batches(chunks(range(task.eval_size), size), device=CPU))


def joined(batches: Batches) -> tuple[Tensor, Tensor]:
    images, targets = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(targets)


def same(first: Batches, second: Batches) -> bool:
    return all(
        torch.equal(a, c) and torch.equal(b, d)
        for (a, b), (c, d) in zip(first, second, strict=True)
    )
