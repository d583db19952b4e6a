"""How far predicted values are from the true ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from lwdna.tasks.means import FiniteMean


class RootMean(FiniteMean):
    """Root of the mean of the values that are finite, NaN if none is."""

    def compute(self) -> Tensor:
        """Return the root, a scalar."""
        return super().compute().sqrt()


class Determination(Metric):
    """Coefficient of determination, the mean over columns: 1 at best, 0 for the mean of all.

    Examples with a prediction that is not finite are left out.
    """

    errors: Tensor
    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        for name in ("errors", "total", "squares"):
            zeros = torch.zeros(columns, dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Add values about zero, so that squares keep their digits; both of shape (B, columns)."""
        known = predicted.isfinite().all(1)
        predicted, truth = predicted[known].double(), truth[known].double()
        self.errors += (predicted - truth).square().sum(0)
        self.total += truth.sum(0)
        self.squares += truth.square().sum(0)
        self.count += known.sum()

    def compute(self) -> Tensor:
        """Return the mean over columns, a scalar; NaN where all values of a column are one."""
        spread = self.squares - self.total.square() / self.count
        return torch.where(spread > 0, 1 - self.errors / spread, torch.nan).mean()
