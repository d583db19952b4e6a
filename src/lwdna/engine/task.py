"""What the training loop needs to know of a vision task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from lwdna.input_size import InputSize
from lwdna.inputs import Inputs

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

    def example_inputs(self) -> Inputs:
        """Return the inputs of one example as the network takes them, for tracing.

        One tensor, (1, C, H, W) for an image; a tuple of tensors for the positional arguments of
        ``forward``; or a dict of tensors for its keyword arguments. The first axis of each has
        length 1.
        """
        ...

    def model_args(self, source: str) -> dict[str, Any]:
        """Return the arguments by which a network is made for these data.

        Args:
            source: where the network comes from: "lwdna", "timm", "torchvision" or "python". Not
                every source knows every argument.
        """
        ...

    def misfit(self, args: Mapping[str, Any], input_size: InputSize) -> str | None:
        """Say why a network is not for these data and what to do, or return None if it is.

        Args:
            args: the arguments that it was made with.
            input_size: the sizes it was made for, in the form of :meth:`example_inputs` without the
                batch axis: (C, H, W) for an image.

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
