"""The IoU head: how well boxes fit the target of a reference frame.

Danelljan et al., "ATOM: Accurate Tracking by Overlap Maximization", CVPR 2019 (arXiv 1811.07628).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lwdna.models.tracking.classifier import corners
from lwdna.models.tracking.prroi import precise_roi_pool

Pair = tuple[Tensor, Tensor]
"""Of the shallow and the deep level."""

REFERENCE_BINS = 3
SHALLOW_BINS, DEEP_BINS = 5, 3


def _conv(inputs: int, outputs: int, kernel: int, padding: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _twice(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, width, 3, 1), _conv(width, width, 3, 1))


def _linear(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))


class IoUHead(nn.Module):
    """Predicts overlaps of boxes with a target that a reference frame shows.

    Args:
        channels: of the shallow and the deep features.
        strides: pixels per cell of each.
        width: of all layers but one.
        reference_width: of the first layer of the reference branch on the shallow features.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        strides: tuple[int, int],
        width: int,
        reference_width: int,
    ) -> None:
        super().__init__()
        shallow, deep = channels
        self.strides = strides
        self.reference_shallow = _conv(shallow, reference_width, 3, 1)
        self.reference_box = _conv(reference_width, width, REFERENCE_BINS, 0)
        self.reference_deep = _conv(deep, width, 3, 1)
        self.modulate_shallow = _conv(2 * width, width, 1, 0)
        self.modulate_deep = _conv(2 * width, width, 1, 0)
        self.test_shallow = _twice(shallow, width)
        self.test_deep = _twice(deep, width)
        self.box_shallow = _linear(width * SHALLOW_BINS**2, width)
        self.box_deep = _linear(width * DEEP_BINS**2, width)
        self.overlap = nn.Linear(2 * width, 1)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw weights by fan-in as He et al. do, gains of normalisations from U(0, 1)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.reset_parameters()
                nn.init.uniform_(module.weight)

    def modulation(self, shallow: Tensor, deep: Tensor, boxes: Tensor) -> Pair:
        """Return what a reference frame says of its target, two vectors (N, C).

        Args:
            shallow: (N, C, H, W) of the backbone.
            deep: (N, C, h, w) of the backbone.
            boxes: (N, 4), the targets x, y, w, h in pixels of the images.
        """
        where = corners(boxes)[:, None]
        fine, coarse = self.reference_shallow(shallow), self.reference_deep(deep)
        fine = precise_roi_pool(fine, where, REFERENCE_BINS, 1 / self.strides[0])[:, 0]
        coarse = precise_roi_pool(coarse, where, 1, 1 / self.strides[1])[:, 0]
        both = torch.cat([self.reference_box(fine), coarse], 1)
        return self.modulate_shallow(both).flatten(1), self.modulate_deep(both).flatten(1)

    def features(self, shallow: Tensor, deep: Tensor) -> Pair:
        """Return maps (N, C, H, W) and (N, C, h, w) of test frames for :meth:`predict`."""
        return self.test_shallow(shallow), self.test_deep(deep)

    def predict(self, modulation: Pair, features: Pair, boxes: Tensor) -> Tensor:
        """Return overlaps (N, P), trained to 2 IoU - 1, differentiable in the boxes.

        Args:
            modulation: of the target of each test frame.
            features: of the test frames.
            boxes: (N, P, 4), x, y, w, h in pixels of the images.
        """
        where = corners(boxes)
        found: list[Tensor] = []
        for bins, layer, stride, maps, vector in zip(
            (SHALLOW_BINS, DEEP_BINS),
            (self.box_shallow, self.box_deep),
            self.strides,
            features,
            modulation,
            strict=True,
        ):
            pooled = precise_roi_pool(maps, where, bins, 1 / stride)
            # pooling is linear in each channel, and there is less to multiply behind it
            modulated = pooled * vector[:, None, :, None, None]
            found.append(layer(modulated.flatten(2).flatten(0, 1)))
        overlaps: Tensor = self.overlap(torch.cat(found, 1))
        return overlaps.view(boxes.shape[:2])
