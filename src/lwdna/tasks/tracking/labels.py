"""Scores that a tracker should give: a Gaussian about the target's centre."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lwdna.errors import ModelError

_STRIDES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class ScoreGrid:
    """Where the cells of a map of scores lie in a crop."""

    side: int
    """Cells along each axis."""
    stride: int
    """Pixels per cell."""
    even: bool
    """Whether the filter has an even number of taps: the map has one cell more than the features,
    and cell i lies at ``i * stride`` pixels; otherwise at ``(i + 1/2) * stride``."""

    @classmethod
    def of(cls, side: int, image_size: int) -> ScoreGrid:
        """Return what a map of so many cells is for crops of this side.

        Raises:
            ModelError: no stride that is a power of 2 gives such a map.
        """
        for stride in _STRIDES:
            cells = -(-image_size // stride)
            if side in (cells, cells + 1):
                return cls(side, stride, even=side > cells)
        raise ModelError(
            f"the network gives {side} x {side} scores for crops of {image_size} pixels; their "
            "stride must be a power of 2"
        )


def gaussian_labels(boxes: Tensor, grid: ScoreGrid, sigma: float) -> Tensor:
    """Return exp(-d^2 / (2 sigma^2)), d being the distance of a cell to the target's centre.

    Args:
        boxes: x, y, w, h in pixels of the crop, shape (..., 4).
        grid: the map of scores.
        sigma: in cells.

    Returns:
        Shape (..., side, side), rows first.
    """
    centres = (boxes[..., :2] + boxes[..., 2:] / 2) / grid.stride - (0.0 if grid.even else 0.5)
    cells = torch.arange(grid.side, dtype=boxes.dtype, device=boxes.device)
    along = torch.exp(-0.5 * ((cells - centres[..., None]) / sigma) ** 2)  # (..., 2, side)
    return along[..., 1, :, None] * along[..., 0, None, :]
