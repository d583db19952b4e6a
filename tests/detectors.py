"""A network whose slices can be worked out by hand, and ten examples for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from lwdna.engine import Metric
from lwdna.settings import Settings

EXAMPLES = (0, 0, 0, 0, 0, 1, 1, 1, 2, 2)
"""The class of each; its image is one pixel, 1 in the channel of its class and 0 in the others."""

Batch = tuple[Tensor, Tensor]


class Detectors(nn.Module):
    """A unit of ``seen`` per class, and four units of ``dead`` that are always zero.

    image (3, 1, 1) -> norm -> [seen 3 | dead 4] -> two linear layers, added: 3

    Normalised images are positive in the channel of their class alone, so that a class without its
    unit has logits of zero, and is taken for class 0. The running mean of ``norm`` is 5, so that
    without recalibration every image is. MACs: 9 + 12 before, 9 + 12 behind.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, affine=False)
        self.seen = nn.Conv2d(3, 3, 1, bias=False)
        self.dead = nn.Conv2d(3, 4, 1)
        self.head = nn.Linear(3, 3)
        self.rest = nn.Linear(4, 3, bias=False)
        with torch.no_grad():
            assert self.norm.running_mean is not None
            self.norm.running_mean.fill_(5.0)
            self.seen.weight.copy_(torch.diag(torch.tensor([3.0, 2.0, 1.0]))[:, :, None, None])
            self.head.weight.copy_(torch.eye(3))
            for parameter in (*self.dead.parameters(), self.head.bias):
                parameter.zero_()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        seen: Tensor = self.head(self.seen(x).relu().flatten(1))
        dead: Tensor = self.rest(self.dead(x).relu().flatten(1))
        return seen + dead


class DetectorSettings(Settings):
    """What a recipe may say of :class:`DetectorTask`."""

    errors: bool = False
    """Whether the metric is the share of errors instead of the accuracy."""


class DetectorTask:
    """Training and validation on the same examples."""

    other_metrics: tuple[Metric, ...] = ()
    train_size = eval_size = len(EXAMPLES)

    def __init__(self, settings: DetectorSettings) -> None:
        self.errors = settings.errors
        title = "error" if settings.errors else "accuracy"
        self.metric = Metric(title, title, "%", higher_is_better=not settings.errors)

    def example_inputs(self) -> Tensor:
        return torch.zeros(1, 3, 1, 1)

    def model_args(self, source: str) -> dict[str, Any]:
        return {}

    def misfit(self, args: Mapping[str, Any], input_size: Any) -> str | None:
        return None if input_size == (3, 1, 1) else "takes other images; use its recipe"

    def train_batches(
        self, batches: Sequence[Sequence[int]], *, seed: int, epoch: int, device: torch.device
    ) -> Iterator[Batch]:
        return self.eval_batches(batches, device=device)

    def eval_batches(
        self, batches: Sequence[Sequence[int]], *, device: torch.device
    ) -> Iterator[Batch]:
        for indices in batches:
            targets = torch.tensor([EXAMPLES[index] for index in indices])
            yield F.one_hot(targets, 3)[:, :, None, None].float().to(device), targets.to(device)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    def metrics(self) -> MetricCollection:
        return MetricCollection({"loss": MeanMetric(), self.metric.name: MeanMetric()})

    def update(
        self, metrics: MetricCollection, model: nn.Module, batch: Batch
    ) -> tuple[Tensor, None]:
        outputs = model(batch[0])
        outcomes = 100.0 * ((outputs.argmax(1) == batch[1]) != self.errors)
        metrics["loss"].update(F.cross_entropy(outputs, batch[1], reduction="none"))
        metrics[self.metric.name].update(outcomes)
        return outcomes, None

    def save(self, batch: Batch, answers: None, folder: Path) -> None:
        """Write nothing."""

    def show(self, model: nn.Module, folder: Path, device: torch.device) -> None:
        """Write nothing."""
