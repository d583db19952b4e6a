"""The classifier of a discriminative tracker: features, the first filter, its improvement."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from lwdna.models.common import conv3x3, initialise
from lwdna.models.tracking.filter_optimizer import FilterOptimizer, Windows
from lwdna.models.tracking.prroi import precise_roi_pool


def corners(boxes: Tensor) -> Tensor:
    """Return x0, y0, x1, y1 of boxes x, y, w, h on the last axis."""
    return torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)


class ScaledNorm(nn.Module):
    """Divide the features of each image by their root mean square over channels and space.

    The result, for filters of k x k taps, is x / k * sqrt(H W / (sum x^2 + 1e-5)): that of
    Bhat et al., whose factor sqrt(1 / (C k^2)) cancels the number of channels.
    """

    def __init__(self, filter_size: int) -> None:
        super().__init__()
        self.filter_size = filter_size

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(len(x), 1, -1)
        squares = torch.bmm(rows, rows.transpose(1, 2))  # a channel of zeros adds nothing
        factor = (x.shape[-2] * x.shape[-1] / (squares + 1e-5)).sqrt() / self.filter_size
        normalised: Tensor = x * factor[..., None]
        return normalised

    def extra_repr(self) -> str:
        return f"filter_size={self.filter_size}"


class FilterInitializer(nn.Module):
    """A first filter: a convolution, pooled inside the targets and averaged over the frames."""

    def __init__(self, width: int, filter_size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.filter_size = filter_size
        self.stride = stride

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        """(B, T, C, h, w) and boxes (B, T, 4) in pixels to (B, C, k, k)."""
        convolved = self.conv(features.flatten(0, 1))
        where = corners(boxes).flatten(0, 1)[:, None]
        pooled = precise_roi_pool(convolved, where, self.filter_size, 1 / self.stride)
        return pooled.view(*features.shape[:2], *pooled.shape[2:]).mean(1)


class Classifier(nn.Module):
    """Tells the target from what is around it, by a filter made for each sequence.

    Args:
        channels: of the deep features.
        width: of its own features.
        blocks: residual blocks in front of the last convolution.
        block: their kind.
        filter_size: k, taps of the filter in each direction.
        stride: pixels per cell of the deep features.
        optimizer: improves the filter.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        blocks: int,
        block: type[BasicBlock] | type[Bottleneck],
        filter_size: int,
        stride: int,
        optimizer: FilterOptimizer,
    ) -> None:
        super().__init__()
        residual = [block(channels, channels // block.expansion) for _ in range(blocks)]
        self.embed = nn.Sequential(*residual, conv3x3(channels, width))
        self.norm = ScaledNorm(filter_size)
        self.start = FilterInitializer(width, filter_size, stride)
        self.optimizer = optimizer
        self.filter_size = filter_size
        self.stride = stride
        initialise(self)

    def features(self, deep: Tensor) -> Tensor:
        """(N, C, h, w) of the backbone to (N, width, h, w), normalised."""
        normalised: Tensor = self.norm(self.embed(deep))
        return normalised

    def initial_filter(self, features: Tensor, boxes: Tensor) -> Tensor:
        """Return (B, C, k, k) for features (B, T, C, h, w) and boxes (B, T, 4) in pixels."""
        first: Tensor = self.start(features, boxes)
        return first

    def optimize(
        self,
        filter: Tensor,
        features: Tensor,
        boxes: Tensor,
        weights: Tensor | None = None,
        steps: int | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Improve the filter of each sequence on its training frames.

        Args:
            filter: (B, C, k, k).
            features: (B, T, C, h, w).
            boxes: (B, T, 4), the targets x, y, w, h in pixels of the images.
            weights: (B, T), of the frames; default: 1 / T.
            steps: default: the network's own.

        Returns:
            The filters, the given one first, and the loss (B,) of each.
        """
        windows = Windows(features, self.filter_size)
        distances = self.distances(boxes, windows.scored)
        improved: tuple[list[Tensor], list[Tensor]]
        improved = self.optimizer(filter, windows, distances, weights, steps)
        return improved

    def distances(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """Return how far each score (B, T, h', w') is from the boxes' centres, in cells."""
        centres = (boxes[..., :2] + boxes[..., 2:] / 2) / self.stride - self.filter_size % 2 / 2
        rows, columns = (
            torch.arange(length, dtype=boxes.dtype, device=boxes.device) for length in size
        )
        down = rows[:, None] - centres[..., 1, None, None]
        right = columns - centres[..., 0, None, None]
        return (down.square() + right.square()).sqrt()

    def scores(self, features: Tensor, filter: Tensor) -> Tensor:
        """Return (B, N, h', w') for features (B, N, C, h, w) and one filter (B, C, k, k)."""
        return self.scores_of_all(features, filter[:, None])[:, 0]

    def scores_of_all(self, features: Tensor, filters: Tensor) -> Tensor:
        """Return (B, F, N, h', w') for filters (B, F, C, k, k)."""
        return Windows(features, self.filter_size).scores(filters)
