"""What a Siamese tracker's maps should be: cells at the target say so, and where its ends are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from lwdna.models.tracking.siamese import places
from lwdna.tasks.tracking.labels import ScoreGrid

_LEAST = 0.75
"""A target's core reaches this many cells to each side at least: one or two cells lie in it."""


def score_loss(scores: Tensor, truth: Tensor, size: int, core: float) -> Tensor:
    """Return the cross-entropy of the scores, cells at the target counting as much as the others.

    Args:
        scores: logits, (B, h, h).
        truth: the targets x, y, w, h in pixels of the crops, (B, 4).
        size: side of the crops in pixels.
        core: the part of the box in which cells are at the target.

    Returns:
        The mean over the examples, a scalar.
    """
    inside, reach = _cells(truth, scores.shape[-1], size, core)
    outside = (reach <= 0).any(1)
    entropies = F.binary_cross_entropy_with_logits(scores, inside.float(), reduction="none")
    return (0.5 * (_means(entropies, inside) + _means(entropies, outside & ~inside))).mean()


def box_loss(boxes: Tensor, truth: Tensor, size: int, core: float) -> Tensor:
    """Return 1 minus the generalised IoU (Rezatofighi et al., CVPR 2019) of cells at the target.

    Args:
        boxes: how far the target's left, upper, right and lower ends are from each cell, in pixels,
            (B, 4, h, h).
        truth: the targets x, y, w, h in pixels of the crops, (B, 4).
        size: side of the crops in pixels.
        core: the part of the box in which cells are at the target.

    Returns:
        The mean over the examples, a scalar.
    """
    inside, reach = _cells(truth, boxes.shape[-1], size, core)
    signs = boxes.new_tensor([-1, -1, 1, 1])
    found, wanted = (one.permute(0, 2, 3, 1) * signs for one in (boxes, reach))
    losses = generalized_box_iou_loss(found, wanted, reduction="none")
    return _means(losses, inside).mean()


def _cells(truth: Tensor, side: int, size: int, core: float) -> tuple[Tensor, Tensor]:
    """Return which cells lie in the core of their target, (B, h, h), and how far its left, upper,
    right and lower ends are from each, (B, 4, h, h)."""
    stride = ScoreGrid.of(side, size).stride
    at = places(size, stride, side).to(truth)
    across, down = at[None, None, :], at[None, :, None]
    x, y, w, h = (part[:, None, None] for part in truth.unbind(1))
    ends = torch.broadcast_tensors(across - x, down - y, x + w - across, y + h - down)
    near = torch.logical_and(
        (across - x - w / 2).abs() <= (core / 2 * w).clamp(min=_LEAST * stride),
        (down - y - h / 2).abs() <= (core / 2 * h).clamp(min=_LEAST * stride),
    )
    return near, torch.stack(ends, 1)


def _means(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean of each example's chosen values, (B,); 0 where none is chosen."""
    return (values * where).sum((1, 2)) / where.sum((1, 2)).clamp(min=1)
