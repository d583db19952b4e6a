"""A task and networks so small that a run takes a fraction of a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassRecall

from lwdna.engine import Metric
from lwdna.engine.task import Choices

CLASSES = 3


class ToyTask:
    """Separable images with noise; ``before_batch`` sees every training batch's indices."""

    metric = Metric("top1", "top-1 accuracy", digits=3)
    other_metrics: tuple[Metric, ...] = ()

    def __init__(
        self,
        train_size: int = 50,
        eval_size: int = 17,
        before_batch: Callable[[Sequence[int]], None] = lambda indices: None,
    ) -> None:
        self.train_size = train_size
        self.eval_size = eval_size
        self.before_batch = before_batch
        generator = torch.Generator().manual_seed(0)
        size = train_size + eval_size
        self.targets = torch.randint(CLASSES, (size,), generator=generator)
        self.images = torch.randn(size, 3, 5, 5, generator=generator)
        self.images[torch.arange(size), self.targets] += 1.0
        self.seen: list[int] = []

    def example_inputs(self) -> Tensor:
        return self.images[:1]

    def train_batches(
        self, batches: Sequence[Sequence[int]], *, seed: int, epoch: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for indices in batches:
            self.before_batch(indices)
            index = torch.tensor(indices)
            yield self.images[index].to(device), self.targets[index].to(device)

    def eval_batches(
        self, batches: Sequence[Sequence[int]], *, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for indices in batches:
            self.seen += indices
            index = torch.tensor(indices) + self.train_size
            yield self.images[index].to(device), self.targets[index].to(device)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, targets = batch
        return F.cross_entropy(model(images), targets)

    def metrics(self) -> MetricCollection:
        return MetricCollection(
            {
                "loss": MeanMetric(),
                "top1": MulticlassAccuracy(CLASSES, average="micro"),
                "f1": MulticlassF1Score(CLASSES),
                "recall": MulticlassRecall(CLASSES),  # may share its state with f1
            }
        )

    def update(
        self, metrics: MetricCollection, model: nn.Module, batch: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Choices]:
        images, targets = batch
        outputs = model(images)
        losses = F.cross_entropy(outputs, targets, reduction="none")
        metrics["loss"].update(losses)
        for name in ("top1", "f1", "recall"):
            metrics[name].update(outputs, targets)
        probability, chosen = outputs.softmax(1).max(1)
        return (chosen == targets).float(), Choices(targets, chosen, probability)


def conv_net(*, norm: bool = True, dropout: float = 0.3) -> nn.Sequential:
    """Return a small convolutional network with weights of its own seed."""
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(8, CLASSES),
    )
