"""What the training loop needs to know of a vision task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
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

    unit: str
    """What the primary metric is counted in, as in ``%`` or ``dB``; may be empty."""

    train_size: int
    eval_size: int

    def example_inputs(self) -> Tensor:
        """Return one input as the network sees it, shape (1, C, H, W), for tracing."""
        ...

    def model_args(self, source: str) -> dict[str, Any]:
        """Return the arguments by which a network is made for these data.

        Args:
            source: where the network comes from: "lwdna", "timm", "torchvision" or "python". Not
                every source knows every argument.
        """
        ...

    def misfit(self, args: Mapping[str, Any], input_size: tuple[int, ...]) -> str | None:
        """Say why a network is not for these data and what to do, or return None if it is.

        Args:
            args: the arguments that it was made with.
            input_size: the shape it was made for, (C, H, W).

        Returns:
            A clause that goes on from "the network", such as "takes images of 1 channels, ...".
        """
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

    def update(
        self, metrics: MetricCollection, model: nn.Module, batch: Batch
    ) -> tuple[Tensor, Any]:
        """Run ``model`` on a validation batch and update ``metrics`` (a ``loss`` among them).

        Returns:
            The outcome of every example, shape (B,): what it contributes to the primary metric,
            which is the mean of all outcomes (0 or 100 for an accuracy in percent). Comparisons
            that pair two networks example by example rest on it.
            And what the network makes of the batch, for :meth:`save`.
        """
        ...

    def save(self, batch: Batch, answers: Any, folder: Path) -> None:
        """Write what the network made of a validation batch, a file or more per example.

        A task with nothing to look at writes nothing.
        """
        ...

    def show(self, model: nn.Module, folder: Path, device: torch.device) -> None:
        """Write pictures of what ``model`` makes of a few validation examples, for the report.

        One example has the files ``NAME-input.png``, ``NAME-output.png`` and ``NAME-target.png``.
        A task with nothing to look at writes nothing.
        """
        ...
