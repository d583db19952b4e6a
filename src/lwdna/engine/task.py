"""What the training loop needs to know of a vision task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import TypeAdapter

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torchmetrics import MetricCollection

    from lwdna.inputs import Inputs

from lwdna.input_size import InputSize
from lwdna.interface import Preprocessing, Target

NOT_FINITE = "not_finite"
"""What results call the number of validation examples with outputs that are not finite."""

Batch = Any
"""What a task hands to its own loss: for classification ``(images, targets)``."""


@dataclass(frozen=True)
class Metric:
    """What a task measures: how it is called and written, and which way is better."""

    name: str
    """Its key among :meth:`Task.metrics`, in ``metrics.jsonl`` and in ``results.json``."""
    title: str
    """What tables and sentences call it, as in ``top-1 accuracy``."""
    unit: str = ""
    """As in ``%`` or ``dB``; may be empty. Percentages are compared in points."""
    digits: int = 2
    """Decimal places that tables show."""
    higher_is_better: bool = True
    mean_of_examples: bool = True
    """Whether it is the mean of the outcomes that :meth:`Task.update` returns, as an accuracy is
    and an area under a curve is not. Comparisons look at the examples of such a metric; of any
    other they see one value per training."""
    worst: float | None = None
    """What an example counts for which the network's output is not finite, where the metric is a
    mean over the examples: 0 for an accuracy. Without it, one such example leaves the metric
    unknown."""

    def better(self, value: float, than: float) -> bool:
        """Whether ``value`` is strictly better."""
        return value > than if self.higher_is_better else value < than


@dataclass(frozen=True)
class Choices:
    """What a network that tells classes makes of examples: of a batch, or of a validation set.

    What :meth:`Task.update` returns of it is kept for all validation examples, so that runs can say
    how good a network is class by class, and which classes it mistakes for which.
    """

    true: Tensor
    """Class of every example, shape (B,)."""
    chosen: Tensor
    """The class to which the network gives the highest probability, -1 where its output says none,
    shape (B,)."""
    probability: Tensor
    """That of the class chosen, from 0 to 1, 0 where there is none, shape (B,)."""


_METRICS = TypeAdapter(tuple[Metric, ...])


def describe(*metrics: Metric) -> dict[str, Any]:
    """Return the entries of a ``results.json`` that say what its metrics are, the primary first.

    Whoever reads them needs nothing of the task.
    """
    return {"metric": metrics[0].name, "metrics": [asdict(metric) for metric in metrics]}


def described(*results: Mapping[str, Any] | None) -> tuple[Metric, ...]:
    """Return the metrics that ``results`` describe together, the primary one first.

    A primary metric without a description goes by its name.

    Raises:
        ValueError: a description is damaged.
    """
    found: dict[str, Metric] = {}
    for one in filter(None, results):
        metrics = {m.name: m for m in _METRICS.validate_python(one.get("metrics", ()))}
        primary = one.get("metric")
        if primary is not None:
            found.setdefault(primary, metrics.get(primary, Metric(primary, primary)))
        for name, metric in metrics.items():
            found.setdefault(name, metric)
    return tuple(found.values())


class Task(Protocol):
    """Data, loss and metrics of a task; the order of the data belongs to the engine.

    The engine decides which examples form which batch and hands their indices over, so that
    resuming, sharding over processes and repeating a run need no state in the data pipeline.
    Everything random about an example follows from ``(seed, epoch, index)`` alone.

    A task may have ``notes``, a tuple of sentences that users should read of its data, and
    ``train_groups``, :class:`lwdna.engine.order.Groups` of training examples that are used at about
    the same time.
    Of a task that is a :class:`lwdna.engine.fingerprint.KnowsItsData`, too, runs are resumed on the
    same data only. What is trained for one that is a :class:`PreparesImages` says how to use it.
    """

    metric: Metric
    """The primary metric: by it networks are compared and the best weights are kept."""

    other_metrics: tuple[Metric, ...]
    """Further metrics that tables show, in their order."""

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
        """Return fresh metrics by name, states summed over processes by torchmetrics.

        A ``loss``, the mean over the examples, is among them; results call it ``val_loss``.
        """
        ...

    def update(
        self, metrics: MetricCollection, model: nn.Module, batch: Batch
    ) -> tuple[Tensor, Any]:
        """Run ``model`` on a validation batch and update ``metrics`` (a ``loss`` among them).

        Returns:
            The outcome of every example, shape (B,): what it contributes to the primary metric,
            which is the mean of all outcomes (0 or 100 for an accuracy in percent), NaN where the
            network's output is not finite: such examples are counted, and count as
            :attr:`Metric.worst`. Comparisons
            that pair two networks example by example rest on it. If the metric is no such mean
            (:attr:`Metric.mean_of_examples` says so), whatever tells of one example: it is kept
            in ``outcomes.safetensors``, but comparisons pair the metric itself by seed alone.
            And what the network makes of the batch, for :meth:`save`; where it tells classes, that
            is :class:`Choices`.
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


@runtime_checkable
class PreparesImages(Protocol):
    """What a :class:`Task` may say more, where networks take single images and tell classes."""

    def preprocessing(self) -> Preprocessing:
        """Return how validation images become the network's input."""
        ...


@runtime_checkable
class PredictsValues(Protocol):
    """What a :class:`Task` may say more, where outputs are values that were standardised."""

    def targets(self) -> tuple[Target, ...]:
        """Return what the outputs stand for, in their order."""
        ...

    def adopt(self, targets: Sequence[Target] | None, what: str) -> None:
        """Take the scales of the network ``what``, which was trained before, for its own.

        Raises:
            ArchitectureError: its outputs stand for other values.
        """
        ...


@runtime_checkable
class RecordsItself(Protocol):
    """What a :class:`Task` may say more: what follows from the data and decides the result."""

    def record(self) -> dict[str, Any]:
        """Return entries for the ``results.json`` of a training, such as weights of classes."""
        ...


@runtime_checkable
class ResizesImages(Protocol):
    """What a :class:`Task` may say more, where training may begin with smaller images."""

    def resized(self, side: int) -> Task:
        """Return the task with square training images of another size in pixels.

        Raises:
            DataError: they would be larger than the task's own.
        """
        ...
