"""The samples that the filter is fitted to: features, boxes and weights, newer ones weigh more."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lwdna.tasks.tracking.online.settings import MemorySettings


class Memory:
    """Samples of the first frame, which stay, and of later ones, which make room for newer ones.

    All features lie in one tensor, made once. Where the memory is full, a new sample takes the
    place of the one that weighs least.
    """

    def __init__(self, features: Tensor, boxes: Tensor, settings: MemorySettings) -> None:
        """Begin with the samples of the first frame, all of one weight.

        Args:
            features: (n, C, h, w), of the classifier; n less than ``settings.size``.
            boxes: (n, 4), x, y, w, h in pixels of the samples' crops.
            settings: size, rates and the least weight of the first frame.
        """
        self.settings = settings
        self.first = self.count = len(features)
        self._newest: int | None = None
        self._features = features.new_zeros(settings.size, *features.shape[1:])
        self._features[: self.count] = features
        self._boxes = boxes.new_zeros(settings.size, 4)
        self._boxes[: self.count] = boxes
        self.weights: NDArray[np.float64] = np.zeros(settings.size)
        """(size,); 0 where there is no sample yet."""
        self.weights[: self.count] = 1 / self.count

    def add(self, features: Tensor, box: Tensor, rate: float) -> int:
        """Add a sample, which weighs 1 / (1 - rate) times as much as the one before it.

        The first one that is added gets the weight ``rate``, and the samples of the first frame
        1 / (1 - rate) times theirs, before the sum is brought back to 1. The samples of the first
        frame never weigh less than ``settings.first_frame`` together.

        Args:
            features: (C, h, w).
            box: (4,).
            rate: between 0 and 1.

        Returns:
            The place of the sample.
        """
        weights, first = self.weights, self.first
        place = first + int(weights[first:].argmin())
        if self._newest is None:
            weights /= 1 - rate
            weights[place] = rate
        else:
            weights[place] = weights[self._newest] / (1 - rate)
        weights /= weights.sum()
        least = self.settings.first_frame
        if weights[:first].sum() < least:
            # as published: the sum is a little more than 1 until the next sample comes
            weights /= least + weights[first:].sum()
            weights[:first] = least / first
        self._newest = place
        self._features[place] = features
        self._boxes[place] = box
        self.count = max(self.count, place + 1)
        return place

    def samples(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (1, n, C, h, w), boxes (1, n, 4) and weights (1, n) of what is held.

        Features and boxes are views.
        """
        features, boxes = self._features[: self.count], self._boxes[: self.count]
        weights = torch.from_numpy(self.weights[: self.count]).to(features)
        return features[None], boxes[None], weights[None]
