"""What the training loop needs to know of a vision task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

Batch = Any
"""What a task hands to its own loss: for classification ``(images, targets)``."""


class Task(Protocol):
    """Data, loss and metrics of a task; the order of the data belongs to the engine.

    The engine decides which examples form which batch and hands their indices over, so that
    resuming, sharding over processes and repeating a run need no state in the data pipeline.
    Everything random about an example follows from ``(seed, epoch, index)`` alone.
    """

    metric: str
    """Name of the primary metric among :meth:`metrics`; higher is better."""

    train_size: int
    eval_size: int

    def example_inputs(self) -> Tensor:
        """Return one input as the network sees it, shape (1, C, H, W), for tracing."""
        ...

    def train_batches(
        self, batches: Sequence[Sequence[int]], *, seed: int, epoch: int, device: torch.device
    ) -> Iterator[Batch]:
        """Yield one augmented training batch on ``device`` per list of example indices."""
        ...

    def eval_batches(
        self, batches: Sequence[Sequence[int]], *, device: torch.device
    ) -> Iterator[Batch]:
        """Yield one validation batch on ``device`` per list of example indices."""
        ...

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the training loss, a scalar: the mean over the examples of the batch."""
        ...

    def metrics(self) -> MetricCollection:
        """Return fresh metrics, states summed over processes by torchmetrics."""
        ...

    def update(self, metrics: MetricCollection, model: nn.Module, batch: Batch) -> None:
        """Run ``model`` on a validation batch and update ``metrics`` (a ``loss`` among them)."""
        ...
