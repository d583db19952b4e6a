"""A tracker's network that needs no training: its targets are red, its heads compute overlaps."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lwdna.data.data_format import Defaults
from lwdna.models.tracking.dimp import DiMP
from lwdna.models.tracking.prroi import precise_roi_pool

STRIDE = 8


def scene(*patches, size=(160, 120)):
    """Return a black frame with patches ``(x, y, w, h, red)``, in whole pixels."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for x, y, w, h, red in patches:
        image[y : y + h, x : x + w, 0] = red
    return image


class Classifier(nn.Module):
    """Scores are the mean red of 3 x 3 cells or, for even filters, of those about a corner."""

    def __init__(self, filter_size: int) -> None:
        super().__init__()
        self.filter_size = filter_size
        self.calls: list[tuple[int, int]] = []
        """Samples and steps of each improvement of the filter."""
        self.seen: list[tuple[Tensor, Tensor]] = []
        """Features (n, 1, h, w) and weights (n,) of each."""

    def features(self, deep: Tensor) -> Tensor:
        return deep

    def initial_filter(self, features: Tensor, boxes: Tensor) -> Tensor:
        return features.new_ones(1, 1, self.filter_size, self.filter_size)

    def optimize(self, filter, features, boxes, weights=None, steps=None):
        assert features.shape[:2] == boxes.shape[:2] == weights.shape
        assert float(weights.sum()) == np.float32(1) or abs(float(weights.sum()) - 1) < 1e-6
        self.calls.append((features.shape[1], steps))
        self.seen.append((features[0].clone(), weights[0]))
        return [filter] * (steps + 1), [filter.sum()[None]] * (steps + 1)

    def scores(self, features: Tensor, filter: Tensor) -> Tensor:
        red = features[:, :, 0] * filter.mean()
        return F.avg_pool2d(red, 3 if self.filter_size % 2 else 2, 1, padding=1)


class Head(nn.Module):
    """The overlap of a box with all that is red in a crop."""

    strides = (1, STRIDE)

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []
        """Boxes (P, 4) of each question, as parts of the maps have them."""

    def modulation(self, shallow: Tensor, deep: Tensor, boxes: Tensor):
        return shallow.new_zeros(1, 1), deep.new_zeros(1, 1)

    def features(self, shallow: Tensor, deep: Tensor):
        return shallow, shallow.sum().expand_as(deep)

    def predict(self, modulation, features, boxes: Tensor) -> Tensor:
        self.asked.append(boxes[0].detach())
        red, total = features[0], features[1].max()
        corners = torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1) - 0.5
        area = boxes[..., 2] * boxes[..., 3]
        shared = precise_roi_pool(red, corners, 1, 1)[..., 0, 0, 0] * area
        return shared / (area + total - shared)


class RedNetwork(DiMP):
    """Sees red: the shallow map is how red each pixel is, the deep one the mean of 8 x 8 pixels."""

    def __init__(self, iou_head: bool = False, filter_size: int = 4) -> None:
        nn.Module.__init__(self)
        self.classifier = Classifier(filter_size)
        self.iou = Head() if iou_head else None
        self.strides = (1, STRIDE)
        self.gain = nn.Parameter(torch.ones(()))

    def backbone(self, images: Tensor):
        red = (images[:, :1] * Defaults.std[0] + Defaults.mean[0]) * self.gain
        return red, F.avg_pool2d(red, STRIDE)
