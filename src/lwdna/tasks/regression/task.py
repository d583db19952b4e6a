"""Values of images: data, loss and metrics for the training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection

from lwdna.data.settings import ResolvedData, resolve
from lwdna.engine.fingerprint import Fingerprint, half_print
from lwdna.engine.task import Metric
from lwdna.errors import ArchitectureError, DataError, ModelError
from lwdna.input_size import InputSize, describe, only
from lwdna.interface import Preprocessing, Target
from lwdna.tasks.labelled_images import LabelledImages
from lwdna.tasks.means import FiniteMean
from lwdna.tasks.regression.metrics import Determination, RootMean
from lwdna.tasks.regression.settings import RegressionSettings
from lwdna.tasks.regression.source import Half, Values, open_values

Batch = tuple[Tensor, Tensor]
"""Normalised images, float32, shape (B, C, H, W), and standardised values, float32, (B, K)."""

_LOSSES: dict[str, Callable[..., Tensor]] = {
    "smooth-l1": F.smooth_l1_loss,
    "mse": F.mse_loss,
    "l1": F.l1_loss,
}
_FIGURES = 3
"""Digits of a standard deviation that tables show."""


class RegressionTask:
    """Images with one value or several; an :class:`lwdna.engine.task.Task`.

    A network learns standardised values: the mean and the standard deviation of the training values
    are 0 and 1. Both are kept beside its weights, and undone in metrics and predictions. With one
    column errors are counted in its own unit, with several in standard deviations, because units
    differ; the mean absolute error of each column is shown in its own.

    Args:
        settings: the table, the images and their transforms.

    Raises:
        DataError: the table or images are missing or damaged, or a column has one value only.
    """

    def __init__(self, settings: RegressionSettings) -> None:
        source = open_values(settings)
        self._source, self._loss = source, _LOSSES[settings.loss]
        given = settings.augment
        gentle = {
            "crop": given.crop or "pad",
            "horizontal_flip": given.horizontal_flip or 0.0,
        }
        changed = settings.model_copy(update={"augment": given.model_copy(update=gentle)})
        self.data: ResolvedData = resolve(changed, "csv", 1)
        """How images are read: the settings with all defaults filled in."""
        self.summary, self.notes = source.summary, source.notes
        self.columns = source.columns
        self.train_size, self.eval_size = len(source.train.values), len(source.val.values)
        self._images = LabelledImages(source.train.images, source.val.images, self.data)
        self._scale_by(_standardised(source.columns, source.train))

    def _scale_by(self, targets: tuple[Target, ...]) -> None:
        self._targets = targets
        single = len(targets) == 1
        digits, unit = (_digits(targets[0].std), "") if single else (_FIGURES, "sd")
        self._unit = targets[0].std if single else 1.0
        lower: dict[str, Any] = {"higher_is_better": False}
        self.metric = Metric("mae", "mean absolute error", unit, digits, **lower)
        further = [
            Metric("rmse", "root mean square error", unit, digits, mean_of_examples=False, **lower),
            Metric("r2", "R²", digits=_FIGURES, mean_of_examples=False),
        ]
        if not single:
            further += [
                Metric(f"mae_{one.name}", f"error of {one.name}", "", _digits(one.std), **lower)
                for one in targets
            ]
        self.other_metrics: tuple[Metric, ...] = tuple(further)

    def targets(self) -> tuple[Target, ...]:
        """Return what the outputs stand for, and how their values were standardised."""
        return self._targets

    def adopt(self, targets: Sequence[Target] | None, what: str) -> None:
        """Take the scales of a network trained before, on other images perhaps, for its own.

        Args:
            targets: what its outputs stand for; None where nothing is known of them.
            what: what errors call the network.

        Raises:
            ArchitectureError: its outputs are other values.
        """
        names = None if targets is None else tuple(one.name for one in targets)
        if targets is None or names != self.columns:
            said = "no values" if names is None else f"the values {', '.join(names)}"
            raise ArchitectureError(
                f"{what} predicts {said}, the data have {', '.join(self.columns)}; set "
                "data.targets, or use the data that it was trained for"
            )
        self._scale_by(tuple(targets))

    def record(self) -> dict[str, Any]:
        """Return how values were standardised."""
        return {"targets": [one.model_dump() for one in self._targets]}

    def classes(self) -> None:
        """Return None: there are no classes."""

    def preprocessing(self) -> Preprocessing:
        """Return how validation images become the network's input."""
        return self._images.preprocessing()

    def fingerprint(self) -> Fingerprint:
        """Return what tells these images from others: names, sizes, values, sampled contents."""
        halves = (self._source.train, self._source.val)
        train, val = (half_print(half.stored()) for half in halves)
        return Fingerprint(classes=None, train=train, val=val, left_out=self._source.left_out)

    def example_inputs(self) -> Tensor:
        """Return noise distributed as normalised images are, shape (1, C, H, W)."""
        return self._images.example_inputs()

    def model_args(self, source: str) -> dict[str, Any]:
        """Return the number of values, which networks call classes, and of image channels."""
        args: dict[str, Any] = {"num_classes": len(self.columns)}
        if self.data.in_chans != 3 or source in ("lwdna", "timm"):
            args["in_chans"] = self.data.in_chans
        return args

    def misfit(self, args: Mapping[str, Any], input_size: InputSize) -> str | None:
        """Say why a network is not for these values or images, or return None if it is."""
        outputs = args.get("num_classes")
        if outputs not in (None, len(self.columns)):
            return (
                f"has {outputs} outputs, the data set has {len(self.columns)} values "
                f"({', '.join(self.columns)}); use the recipe (and data) it was made with"
            )
        size = only(input_size)
        if size is None or size[0] != self.data.in_chans:
            return (
                f"takes inputs of {describe(input_size)}, the recipe gives images of "
                f"{self.data.in_chans} channels; use the recipe it was made with"
            )
        return None

    def train_batches(
        self, batches: Sequence[Sequence[int]], *, seed: int, epoch: int, device: torch.device
    ) -> Iterator[Batch]:
        """Yield one augmented training batch on ``device`` per list of example indices.

        Raises:
            DataError: an image is missing or damaged.
        """
        values = self._standardise(self._source.train.values).to(device)
        read = self._images.train_batches(batches, seed=seed, epoch=epoch, device=device)
        for images, numbers, _ in read:
            yield images, values[numbers]

    def eval_batches(
        self, batches: Sequence[Sequence[int]], *, device: torch.device
    ) -> Iterator[Batch]:
        """Yield one validation batch on ``device`` per list of example indices.

        Raises:
            DataError: an image is missing or damaged.
        """
        values = self._standardise(self._source.val.values).to(device)
        for images, numbers in self._images.eval_batches(batches, device=device):
            yield images, values[numbers]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss of the standardised values of a training batch, a scalar."""
        images, values = batch
        return self._loss(self._predicted(model, images, values), values)

    def metrics(self) -> MetricCollection:
        """Return the metrics that are declared, and the mean ``loss`` of standardised values."""
        count = len(self.columns)
        parts = [metric.name for metric in self.other_metrics if metric.name.startswith("mae_")]
        return MetricCollection(
            {
                "mae": FiniteMean(),
                "rmse": RootMean(),
                "r2": Determination(count),
                "loss": FiniteMean(),
                **{name: FiniteMean() for name in parts},
            },
            compute_groups=False,
        )

    def update(
        self, metrics: MetricCollection, model: nn.Module, batch: Batch
    ) -> tuple[Tensor, None]:
        """Run ``model`` on a validation batch and count every image of it once.

        Returns:
            The mean absolute error of every image, NaN where an output is not finite, shape (B,).
        """
        images, truth = batch
        predicted = self._predicted(model, images, truth)
        errors = (predicted - truth).abs() * self._unit
        each = errors.mean(1)
        each = torch.where(each.isfinite(), each, torch.nan)
        metrics["mae"].update(each)
        metrics["rmse"].update(errors.square())
        metrics["r2"].update(predicted, truth)
        metrics["loss"].update(self._loss(predicted, truth, reduction="none").mean(1))
        if len(self.columns) > 1:
            for target, column in zip(self._targets, errors.T, strict=True):
                metrics[f"mae_{target.name}"].update(column * target.std)
        return each, None

    def save(self, batch: Batch, answers: None, folder: Path) -> None:
        """Write nothing: values are not much to look at."""

    def show(self, model: nn.Module, folder: Path, device: torch.device) -> None:
        """Write nothing."""

    def _standardise(self, values: Values) -> Tensor:
        """Return values about zero: differences of large ones need all their digits until then."""
        means, stds = ([getattr(one, key) for one in self._targets] for key in ("mean", "std"))
        return torch.from_numpy((values - means) / stds).float()

    def _predicted(self, model: nn.Module, images: Tensor, values: Tensor) -> Tensor:
        output: Tensor = model(images)
        if output.shape != values.shape:
            raise ModelError(
                f"the network gives {tuple(output.shape)} for {len(images)} images, not a value "
                f"for each of {', '.join(self.columns)}; its output must be (batch, values)"
            )
        return output.float()


def _standardised(columns: Sequence[str], train: Half) -> tuple[Target, ...]:
    """Return mean and standard deviation of every column.

    Raises:
        DataError: all training values of a column are one.
    """
    means, stds = train.values.mean(0).tolist(), train.values.std(0).tolist()
    for name, mean, std in zip(columns, means, stds, strict=True):
        if not std > 0:
            raise DataError(
                f"all training images have the {name} {mean:g}, so that there is nothing to learn; "
                "leave the column out (data.targets=[...])"
            )
    return tuple(
        Target(name=name, mean=mean, std=std)
        for name, mean, std in zip(columns, means, stds, strict=True)
    )


def _digits(std: float) -> int:
    """Return how many decimal places of a value are worth showing."""
    return min(max(_FIGURES - 1 - math.floor(math.log10(std)), 0), 9)
