"""Means over a validation set that one output which is not finite does not spoil."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class FiniteMean(Metric):
    """Mean of the values that are finite, NaN if none is.

    torchmetrics' ``MeanMetric`` leaves out NaN at most, and waits for the device at every update.
    """

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Add values, of any shape."""
        finite = values.isfinite()
        self.total += values.where(finite, 0.0).sum()
        self.count += finite.sum()

    def compute(self) -> Tensor:
        """Return the mean, a scalar."""
        return self.total / self.count


class Percentage(Metric):
    """Share of what is true, from 0 to 100."""

    right: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, right: Tensor) -> None:
        """Add truth values, of any shape."""
        self.right += right.sum()
        self.count += right.numel()

    def compute(self) -> Tensor:
        """Return the percentage, a scalar."""
        return 100 * (self.right / self.count)


class BalancedPercentage(Metric):
    """Mean over the classes of the share of each that is true, from 0 to 100.

    Classes without examples are left out.
    """

    right: Tensor
    count: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.add_state("right", torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, right: Tensor, classes: Tensor) -> None:
        """Add truth values and the classes of their examples, both of shape (B,)."""
        self.right.index_add_(0, classes, right.long())
        self.count.index_add_(0, classes, torch.ones_like(classes))

    def compute(self) -> Tensor:
        """Return the percentage, a scalar."""
        known = self.count > 0
        return 100 * (self.right[known] / self.count[known]).mean()
