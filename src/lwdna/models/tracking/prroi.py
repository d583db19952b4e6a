"""Precise RoI pooling: the exact mean of the interpolated features over each bin of a box.

Jiang et al., "Acquisition of Localization Confidence for Accurate Object Detection", ECCV 2018
(arXiv 1807.11590). Bilinear interpolation is a product of tents, so that the integral over a bin is
a product of two sums, and pooling two matrix products. Autograd differentiates them in features and
boxes, as often as one likes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def precise_roi_pool(
    features: Tensor, boxes: Tensor, output_size: int | tuple[int, int], scale: float
) -> Tensor:
    """Pool boxes of features; the features are zero outside of their map.

    Args:
        features: (N, C, H, W).
        boxes: (N, P, 4), corners x0, y0, x1, y1 in pixels of the image, for each map of features.
        output_size: bins (h, w), or one number for both.
        scale: cells of the map per pixel; cell i lies at pixel i / scale.

    Returns:
        (N, P, C, h, w), of the features' type. Boxes without area give zeros, and no gradient.
    """
    bins = (output_size, output_size) if isinstance(output_size, int) else output_size
    images, channels, height, width = features.shape
    count = boxes.shape[1]
    x0, y0, x1, y1 = (boxes.double() * scale).unbind(-1)
    some = (x1 > x0) & (y1 > y0)
    rows = _weights(y0, y1, some, bins[0], height).to(features.dtype)
    columns = _weights(x0, x1, some, bins[1], width).to(features.dtype)
    # (N, C H, W) x (N, W, P w), then for each box (h, H) x (H, C w)
    across = torch.bmm(
        features.reshape(images, channels * height, width),
        columns.permute(0, 3, 1, 2).reshape(images, width, count * bins[1]),
    )
    across = across.view(images, channels, height, count, bins[1]).permute(0, 3, 2, 1, 4)
    pooled = torch.bmm(
        rows.reshape(images * count, bins[0], height),
        across.reshape(images * count, height, channels * bins[1]),
    )
    return pooled.view(images, count, bins[0], channels, bins[1]).transpose(2, 3)


def _weights(low: Tensor, high: Tensor, some: Tensor, bins: int, cells: int) -> Tensor:
    """Return how much of its mean each bin (N, P, bins, cells) takes from each cell.

    ``low`` and ``high`` are the box's ends (N, P) in cells. In float64: of a tiny bin the two
    integrals are almost the same.
    """
    length = torch.where(some, high - low, 1.0)[..., None] / bins
    step = torch.arange(bins + 1, dtype=low.dtype, device=low.device)
    edges = low[..., None] + step * length
    cell = torch.arange(cells, dtype=low.dtype, device=low.device)
    below, above = _tent(edges[..., None] - cell).unfold(-2, 2, 1).unbind(-1)
    weights = (above - below) / length[..., None]
    return torch.where(some[..., None, None], weights, 0.0)


def _tent(x: Tensor) -> Tensor:
    """Return the integral of max(0, 1 - |t|) over t up to x."""
    x = x.clamp(-1, 1)
    return 0.5 + x - x * x.abs() / 2
