"""Inputs of a tracker."""

from __future__ import annotations

import torch
from torch import Tensor


def inputs(
    size: int,
    *,
    head: bool = True,
    sequences: int = 1,
    frames: tuple[int, int] = (2, 3),
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return frames of random pixels, boxes in them, and five proposals on each test frame."""
    train, test = frames
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def boxes(*shape: int) -> Tensor:
        return torch.cat([draw(*shape, 2) * 0.4, 0.2 + draw(*shape, 2) * 0.3], -1) * size

    found = {
        "train_images": draw(sequences, train, 3, size, size),
        "train_boxes": boxes(sequences, train),
        "test_images": draw(sequences, test, 3, size, size),
    }
    return {**found, "proposals": boxes(sequences, test, 5)} if head else found
