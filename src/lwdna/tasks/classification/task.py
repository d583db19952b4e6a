"""Image classification: data, loss and metrics for the training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.data.mixup import Mixup
from timm.loss.cross_entropy import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection

from lwdna.data.batch_order import Order
from lwdna.data.data_format import FORMATS
from lwdna.data.draws import Stream, draw_seed
from lwdna.data.image_transforms import EvalTransform
from lwdna.data.images import ImageSet, Labels, stored_of
from lwdna.data.settings import DataSettings, ResolvedData, resolve
from lwdna.data.shards import InShards
from lwdna.data.sources import open_source
from lwdna.engine.fingerprint import Fingerprint, half_print
from lwdna.engine.order import Groups
from lwdna.engine.task import Choices, Metric
from lwdna.errors import DataError
from lwdna.input_size import InputSize, describe, only
from lwdna.interface import Preprocessing
from lwdna.run_folder import SHEET
from lwdna.tasks.classification.settings import ClassificationSettings
from lwdna.tasks.classification.sheet import at_even_distances, write_sheet
from lwdna.tasks.classification.weights import WeightedLoss, class_weights, weights_note
from lwdna.tasks.labelled_images import LabelledImages
from lwdna.tasks.means import BalancedPercentage, FiniteMean, Percentage

BALANCED = Metric("balanced", "balanced accuracy", "%", mean_of_examples=False)
_UNEQUAL = 2
"""Times as many validation images of one class as of another, from which on accuracies differ."""

Batch = tuple[Tensor, Tensor]
"""Normalised images, float32, shape (B, C, H, W), and targets: classes, int64, shape (B,), or
probabilities, shape (B, classes), when mixup or CutMix is on."""


class ClassificationTask:
    """A classification data set with its loss and metrics; an :class:`lwdna.engine.task.Task`.

    Everything random about an example follows from (seed, epoch, index); how a batch is mixed
    follows from (seed, epoch, index of its first example).

    Args:
        settings: the data set and its transforms, and how batches are mixed; no word of that is
            none.

    Raises:
        DataError: the data set is missing, incomplete or of unknown layout. Damaged images are
            found when they are read.
    """

    metric = Metric("top1", "top-1 accuracy", "%", worst=0.0)
    other_metrics: tuple[Metric, ...] = (Metric("top5", "top-5 accuracy", "%"),)

    def __init__(self, settings: DataSettings) -> None:
        if not isinstance(settings, ClassificationSettings):
            settings = ClassificationSettings(**settings.model_dump())
        source = open_source(settings)
        self.data: ResolvedData = resolve(settings, source.kind, source.all_classes)
        """How images are read: the settings with all defaults filled in."""
        self._settings = settings
        self.summary = source.summary
        """What there is to learn from, in a sentence."""
        self._source = source
        self.class_names = source.classes
        self.num_classes = len(source.classes)
        self.in_chans = self.data.in_chans
        self.train_size = len(source.train.labels)
        self.train_groups = _groups(source.train, settings.shards_at_once)
        self.eval_size = len(source.val.labels)
        self._images = LabelledImages(source.train, source.val, self.data)
        self._mixing = settings.mixup > 0 or settings.cutmix > 0
        self._weights = class_weights(settings.class_weights, source.classes, source.train.labels)
        self._loss = _make_loss(self._mixing, settings.label_smoothing, self._weights)
        self.notes = source.notes
        if self._weights is not None:
            self.notes += (weights_note(self._weights, source.classes),)
        if self._weights is not None or _unequal(source.val.labels):
            self.other_metrics = (*self.other_metrics, BALANCED)

    def resized(self, side: int) -> ClassificationTask:
        """Return the task with square training images of another size in pixels.

        Raises:
            DataError: they would be larger than those of validation.
        """
        if side > self.data.image_size:
            raise DataError(
                f"train.progressive begins with images of {side} pixels, but the recipe's have "
                f"{self.data.image_size}; name smaller sizes or set data.image_size"
            )
        other = copy(self)
        other.data = self.data.model_copy(update={"image_size": side})
        other._images = LabelledImages(self._source.train, self._source.val, other.data)
        return other

    def classes(self) -> tuple[str, ...] | None:
        """Return the names of the classes in order, or None where the format has only numbers."""
        return self.class_names if FORMATS[self.data.kind].names_classes else None

    def preprocessing(self) -> Preprocessing:
        """Return how validation images become the network's input."""
        return self._images.preprocessing()

    def fingerprint(self) -> Fingerprint:
        """Return what tells these images from others: names, sizes, classes, sampled contents."""
        train, val = (
            half_print(stored_of(half)) for half in (self._source.train, self._source.val)
        )
        left_out = self._source.left_out
        return Fingerprint(classes=self.classes(), train=train, val=val, left_out=left_out)

    def record(self) -> dict[str, Any]:
        """Return the weights of the classes in the loss, if there are any."""
        if self._weights is None:
            return {}
        pairs = zip(self.class_names, self._weights.tolist(), strict=True)
        return {"class_weights": {name: round(weight, 6) for name, weight in pairs}}

    def example_inputs(self) -> Tensor:
        """Return noise distributed as normalised images are, shape (1, C, H, W)."""
        return self._images.example_inputs()

    def model_args(self, source: str) -> dict[str, Any]:
        """Return the number of classes and, where the source knows the word, of image channels."""
        args = {"num_classes": self.num_classes}
        # torchvision's networks, and most of the users' own, know colour images only
        if self.in_chans != 3 or source in ("lwdna", "timm"):
            args["in_chans"] = self.in_chans
        return args

    def misfit(self, args: Mapping[str, Any], input_size: InputSize) -> str | None:
        """Say why a network is not for these classes or images, or return None if it is."""
        classes = args.get("num_classes")
        if classes not in (None, self.num_classes):
            return (
                f"tells {classes} classes apart, the data set has {self.num_classes}; use the "
                "recipe (and data) it was made with, or search with this one"
            )
        size = only(input_size)
        if size is None:
            return (
                f"takes inputs of {describe(input_size)}, the recipe gives one image at a time; "
                "use the recipe it was made with"
            )
        if size[0] != self.in_chans:
            return (
                f"takes images of {size[0]} channels, the recipe gives {self.in_chans}; "
                f"set data.in_chans={size[0]}"
            )
        return None

    def train_batches(
        self, batches: Sequence[Sequence[int]], *, seed: int, epoch: int, device: torch.device
    ) -> Iterator[Batch]:
        """Yield one augmented training batch on ``device`` per list of example indices.

        Raises:
            DataError: an image is missing or damaged.
        """
        read = self._images.train_batches(batches, seed=seed, epoch=epoch, device=device)
        for images, targets, order in read:
            yield self._mix(images, targets, order) if self._mixing else (images, targets)

    def eval_batches(
        self, batches: Sequence[Sequence[int]], *, device: torch.device
    ) -> Iterator[Batch]:
        """Yield one validation batch on ``device`` per list of example indices.

        Raises:
            DataError: an image is missing or damaged.
        """
        return self._images.eval_batches(batches, device=device)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of a training batch, a scalar.

        With label smoothing, mixup or CutMix the targets are soft. With weights of the classes it
        is the mean over the images of what each counts.
        """
        images, targets = batch
        loss: Tensor = self._loss(model(images).float(), targets)
        return loss

    def metrics(self) -> MetricCollection:
        """Return ``top1`` and ``top5`` accuracy in percent and the mean cross-entropy ``loss``.

        ``balanced``, the mean over the classes of the share of each that is right, is among them
        where classes are weighted, or one has twice as many validation images as another.
        With fewer than five classes ``top5`` counts all of them. An image whose output says no
        class, because probabilities would not be finite, is wrong; the loss is the mean over all
        images for which it is finite.
        """
        balanced = BALANCED in self.other_metrics
        return MetricCollection(
            {
                "top1": Percentage(),
                "top5": Percentage(),
                "loss": FiniteMean(),
                **({BALANCED.name: BalancedPercentage(self.num_classes)} if balanced else {}),
            },
            # torchmetrics would share the state of two metrics that agree on the first batch
            compute_groups=False,
        )

    def update(
        self, metrics: MetricCollection, model: nn.Module, batch: Batch
    ) -> tuple[Tensor, Choices]:
        """Run ``model`` on a validation batch and count every image of it once.

        Returns:
            100 for every image whose class got the highest value, 0 for the others, NaN for those
            whose output says no class, shape (B,), and which class that was.
        """
        images, targets = batch
        output: Tensor = model(images).float()
        says = output.logsumexp(1).isfinite()  # no NaN, no +inf, and not all are -inf
        best = output.topk(min(5, self.num_classes)).indices.eq(targets[:, None])
        chosen = output.argmax(1)
        first = chosen.eq(targets)
        metrics["top1"].update(first & says)
        if BALANCED.name in metrics:
            metrics[BALANCED.name].update(first & says, targets)
        metrics["top5"].update(best.any(1) & says)
        metrics["loss"].update(F.cross_entropy(output, targets, reduction="none"))
        probability = output.softmax(1).amax(1)
        choices = Choices(targets, chosen.where(says, -1), probability.where(says, 0.0))
        return torch.where(says, 100 * first.float(), torch.nan), choices

    def save(self, batch: Batch, answers: Choices, folder: Path) -> None:
        """Write nothing: a class is not much to look at."""

    def show(self, model: nn.Module, folder: Path, device: torch.device) -> None:
        """Write small pictures of validation images at even distances, the same for all networks.

        Which of them are worth a look shows when two networks are compared.
        """
        images, prepare = self._source.val, EvalTransform(self.data)
        positions = at_even_distances(self.eval_size, self.data.image_size)
        write_sheet(folder / SHEET, positions, (prepare(images, place) for place in positions))

    def _mix(self, images: Tensor, targets: Tensor, order: Order) -> Batch:
        """Mix a batch by timm's ``Mixup``, which takes even batches only: an odd one keeps its
        last example as it is."""
        mixup = Mixup(
            mixup_alpha=self._settings.mixup,
            cutmix_alpha=self._settings.cutmix,
            label_smoothing=self._settings.label_smoothing,
            num_classes=self.num_classes,
        )
        even = len(images) // 2 * 2
        seed = draw_seed(order.seed, order.epoch, order.indices[0], Stream.MIX)
        state = np.random.get_state()  # noqa: NPY002 (timm draws from the global generator)
        try:
            np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002
            _, mixed = mixup(images[:even], targets[:even])
        finally:
            np.random.set_state(state)  # noqa: NPY002
        if even < len(images):
            mixup.mixup_enabled = False
            pair = targets[-1:].expand(2)
            _, last = mixup(images[-1:].expand(2, -1, -1, -1), pair)
            mixed = torch.cat([mixed, last[:1]])
        return images, mixed


def _groups(images: ImageSet, at_once: int | None) -> Groups | None:
    """Return the shards of training images, if few of them are to be used at a time."""
    if at_once is None or not isinstance(images, InShards):
        return None
    return Groups(images.shards, at_once)


def _make_loss(
    mixing: bool, smoothing: float, weights: Tensor | None
) -> Callable[[Tensor, Tensor], Any]:
    if weights is not None:
        return WeightedLoss(weights, 0.0 if mixing else smoothing)
    if mixing:
        return SoftTargetCrossEntropy()
    if smoothing:
        return LabelSmoothingCrossEntropy(smoothing)
    return nn.CrossEntropyLoss()


def _unequal(labels: Labels) -> bool:
    counts = np.bincount(labels)
    return bool(counts.max() >= _UNEQUAL * counts[counts > 0].min())
