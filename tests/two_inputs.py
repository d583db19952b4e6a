"""A network with two inputs of different sizes, and a task whose inputs are a dict or a tuple."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lwdna.engine import Metric
from lwdna.inputs import call
from lwdna.settings import Settings

CLASSES = 3
TEMPLATE = (3, 5, 5)
SEARCH = (3, 9, 11)

Batch = tuple[Any, Tensor]
"""Inputs in the task's form, ``template`` (B, 3, 5, 5) and ``search`` (B, 3, 9, 11); classes."""


class Siamese(nn.Module):
    """One backbone for both inputs; the template's features are the search's filters.

    template (3, 5, 5) -> 13 -> 17 -.
                                     correlation, channel by channel: (17, 5, 7) -> 11 -> mean -> 3
    search  (3, 9, 11) -> 13 -> 17 -'
    """

    def __init__(self, num_classes: int = CLASSES) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 13, 3, padding=1)
        self.norm = nn.BatchNorm2d(13)
        self.two = nn.Conv2d(13, 17, 3, padding=1)
        self.joined = nn.Conv2d(17, 11, 1)
        self.head = nn.Linear(11, num_classes)

    def forward(self, template: Tensor, search: Tensor) -> Tensor:
        return self.answer(self.correlated(self.features(template), self.features(search)))

    def features(self, x: Tensor) -> Tensor:
        return self.two(self.norm(self.one(x)).relu())

    def correlated(self, z: Tensor, x: Tensor) -> Tensor:
        batch, channels = z.shape[:2]
        filters = z.reshape(batch * channels, 1, *z.shape[2:])
        images = x.reshape(1, batch * channels, *x.shape[2:])
        found = F.conv2d(images, filters, groups=batch * channels)
        return found.reshape(batch, channels, *found.shape[2:])

    def answer(self, x: Tensor) -> Tensor:
        return self.head(self.joined(x).relu().mean((2, 3)))


class Matching(Siamese):
    """Every place of the template with every place of the search: works with any batch size.

    (17, 25) and (17, 99) -> (25, 9, 11) -> 11 -> mean -> 3
    """

    def __init__(self, num_classes: int = CLASSES) -> None:
        super().__init__(num_classes)
        self.joined = nn.Conv2d(25, 11, 1)

    def correlated(self, z: Tensor, x: Tensor) -> Tensor:
        found = z.flatten(2).transpose(1, 2) @ x.flatten(2)
        return found.unflatten(2, x.shape[2:])


class Described(nn.Module):
    """An image and a word that says what to look for: positions in a table are whole numbers."""

    def __init__(self, num_classes: int = CLASSES) -> None:
        super().__init__()
        self.image = nn.Conv2d(3, 7, 3, padding=1)
        self.word = nn.Embedding(19, 7)
        self.joined = nn.Conv2d(7, 11, 3, padding=1)
        self.head = nn.Linear(11, num_classes)

    def forward(self, image: Tensor, word: Tensor) -> Tensor:
        x = self.image(image) + self.word(word)[:, :, None, None]
        return self.head(self.joined(x.relu()).relu().mean((2, 3)))


def make_inputs(batch: int = 1, seed: int = 0) -> dict[str, Tensor]:
    """Return noise for :class:`Siamese` by name."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(batch, *size, generator=generator)
        for name, size in (("template", TEMPLATE), ("search", SEARCH))
    }


class PairSettings(Settings):
    """What a recipe may say of :class:`PairTask`."""

    examples: int = 24
    form: Literal["dict", "tuple"] = "dict"


class PairTask:
    """By how many channels the bright one of the search is ahead of that of the template."""

    metric = Metric("top1", "top-1 accuracy", "%")
    other_metrics: tuple[Metric, ...] = ()

    def __init__(self, settings: PairSettings) -> None:
        self.settings = settings
        self.train_size, self.eval_size = settings.examples, 7
        size = self.train_size + self.eval_size
        generator = torch.Generator().manual_seed(0)
        self.targets = torch.randint(CLASSES, (size,), generator=generator)
        bright = torch.randint(CLASSES, (size,), generator=generator)
        self.inputs = make_inputs(size)
        rows = torch.arange(size)
        self.inputs["template"][rows, bright] += 2
        self.inputs["search"][rows, (bright + self.targets) % CLASSES] += 2

    def example_inputs(self) -> Any:
        return self._batch([0], torch.device("cpu"))[0]

    def model_args(self, source: str) -> dict[str, Any]:
        return {"num_classes": CLASSES}

    def misfit(self, args: Mapping[str, Any], input_size: Any) -> str | None:
        if args.get("num_classes") not in (None, CLASSES):
            return "tells other classes apart; use the recipe it was made with"
        return None

    def train_batches(
        self, batches: Sequence[Sequence[int]], *, seed: int, epoch: int, device: torch.device
    ) -> Iterator[Batch]:
        for indices in batches:
            yield self._batch(indices, device)

    def eval_batches(
        self, batches: Sequence[Sequence[int]], *, device: torch.device
    ) -> Iterator[Batch]:
        for indices in batches:
            yield self._batch([self.train_size + index for index in indices], device)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(call(model, batch[0]).float(), batch[1])

    def metrics(self) -> MetricCollection:
        return MetricCollection(
            {"loss": MeanMetric(), "top1": MulticlassAccuracy(CLASSES, average="micro")}
        )

    def update(
        self, metrics: MetricCollection, model: nn.Module, batch: Batch
    ) -> tuple[Tensor, None]:
        outputs = call(model, batch[0]).float()
        metrics["loss"].update(F.cross_entropy(outputs, batch[1], reduction="none"))
        metrics["top1"].update(outputs, batch[1])
        return (outputs.argmax(1) == batch[1]).float(), None

    def save(self, batch: Batch, answers: None, folder: Path) -> None:
        """Write nothing."""

    def show(self, model: nn.Module, folder: Path, device: torch.device) -> None:
        """Write nothing."""

    def _batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        index = torch.tensor(indices)
        given = {name: tensor[index].to(device) for name, tensor in self.inputs.items()}
        inputs = given if self.settings.form == "dict" else tuple(given.values())
        return inputs, self.targets[index].to(device)
