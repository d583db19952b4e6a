"""Visual tracking: data, loss and metrics for the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Ordered
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from lwdna.data.draws import Draws, Stream
from lwdna.data.sequences import stored_sequences
from lwdna.data.settings import usual_workers
from lwdna.engine.fingerprint import Fingerprint, half_print
from lwdna.engine.task import Metric
from lwdna.files import write_text
from lwdna.input_size import InputSize, describe
from lwdna.inputs import size_of
from lwdna.tasks.means import FiniteMean
from lwdna.tasks.tracking.ahead import mapped_ahead
from lwdna.tasks.tracking.following import Followed, Follower
from lwdna.tasks.tracking.kinds.kind import TRACKERS
from lwdna.tasks.tracking.metrics import Track, evaluate
from lwdna.tasks.tracking.pictures import write_strips, write_tracking
from lwdna.tasks.tracking.sampling import choose_sequence
from lwdna.tasks.tracking.sets import open_sets
from lwdna.tasks.tracking.settings import Toolkit, TrackingSettings

_SHOWN = 3
"""How many validation sequences the report shows."""
_LOSS_SEED = 0
"""The validation loss is that of the same frames for all networks and runs."""

Batch = dict[str, Tensor]
"""Training examples by the names that the kind of tracker gives them, stacked."""

_SUCCESS = Metric("success", "success AUC", "%", worst=0.0)
_PRECISION = Metric("precision", "precision at 20 px", "%")
_HALF = Metric("sr50", "success rate at 0.5", "%")
_METRICS: dict[Toolkit, tuple[Metric, ...]] = {
    "otb": (_SUCCESS, _PRECISION, _HALF),
    "got10k": (
        Metric("ao", "average overlap", "%", mean_of_examples=False),
        _HALF,
        Metric("sr75", "success rate at 0.75", "%"),
    ),
    "trackingnet": (
        _SUCCESS,
        Metric("precision", "precision AUC", "%"),
        Metric("normalised_precision", "normalised precision AUC", "%"),
    ),
    **dict.fromkeys(
        ("lasot", "lasot_got10k"),
        (_SUCCESS, _PRECISION, Metric("normalised_precision", "normalised precision AUC", "%")),
    ),
    **dict.fromkeys(
        ("pytracking", "pytracking_valid"),
        (_SUCCESS, _PRECISION, Metric("normalised_precision", "normalised precision at 0.2", "%")),
    ),
}
"""What a toolkit reports, the primary metric first."""
_FIGURES = {"ao": "success"}
"""What :func:`lwdna.tasks.tracking.metrics.evaluate` calls a metric, where it is another name."""


class TrackingTask:
    """Sequences with a target each, loss and metrics; an :class:`lwdna.engine.task.Task`.

    A training example shows some frames of a sequence: which sequence, which frames, and how they
    are cropped follows from (seed, epoch, index). A validation example is one target, followed
    from its first box to the end of the sequence; its outcome is its success AUC in percent.

    Args:
        settings: the sequences, how examples are made of them, and the tracker.

    Raises:
        DataError: sequences are missing, or their files do not fit together.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self.data = settings
        self.train_size = settings.samples
        opened = open_sets(settings)
        self._sets, self._eval, self.notes = opened.train, opened.val, opened.notes
        self.eval_size = len(self._eval)
        self._kind = TRACKERS[settings.tracker](settings)
        self._follow = Follower(self._kind)
        self.metric, *others = _METRICS[settings.toolkit]
        self.other_metrics = tuple(others)

    def classes(self) -> None:
        """Return None: there are no classes."""

    def fingerprint(self) -> Fingerprint:
        """Return what tells these sequences from others: names, sizes, boxes, sampled contents."""
        learnt = [sequence for one in self._sets for sequence in one.sequences]
        train, val = (half_print(stored_sequences(half)) for half in (learnt, self._eval))
        return Fingerprint(classes=None, train=train, val=val)

    def example_inputs(self) -> dict[str, Tensor]:
        """Return the inputs of one example by name, images of noise."""
        return self._kind.example_inputs()

    def model_args(self, source: str) -> dict[str, Any]:
        """Return what lwdna's networks need to know; others have words of their own."""
        return self._kind.model_args() if source == "lwdna" else {}

    def misfit(self, args: Mapping[str, Any], input_size: InputSize) -> str | None:
        """Say why a network is not for this kind of tracker, or return None if it is."""
        wanted = size_of(self.example_inputs())
        assert isinstance(wanted, dict)
        if not isinstance(input_size, dict) or not {*wanted} ^ {*input_size} <= {"proposals"}:
            return (
                f"takes inputs of {describe(input_size)}, a {self.data.tracker} tracker gives "
                f"{describe(wanted)}; use the recipe it was made with"
            )
        if "proposals" in input_size and "proposals" not in wanted:
            return "judges boxes, the recipe gives it none; set data.proposals=8"
        if "proposals" in wanted and "proposals" not in input_size:
            return "has no head that judges boxes; set data.proposals=0"
        return None

    def train_batches(
        self, batches: Ordered[Ordered[int]], *, seed: int, epoch: int, device: torch.device
    ) -> Iterator[Batch]:
        """Yield one batch of examples on ``device`` per list of example indices.

        Raises:
            DataError: a frame is missing or damaged, or no sequence shows its target.
        """
        draws = (Draws(seed, epoch, int(index)) for indices in batches for index in indices)
        threads = self.data.workers or usual_workers()
        longest = max(map(len, batches), default=1)
        examples = mapped_ahead(self._example, draws, threads, longest + threads)
        for indices in batches:
            yield _stacked([next(examples) for _ in indices], device)

    def eval_batches(
        self, batches: Ordered[Ordered[int]], *, device: torch.device
    ) -> Iterator[list[int]]:
        """Yield the numbers of the targets of one list of indices: frames are read one by one."""
        for indices in batches:
            yield [int(index) for index in indices]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the training loss of a batch, a scalar.

        Raises:
            ModelError: the network's outputs do not fit its inputs.
        """
        return self._kind.loss(model(**self._kind.inputs(batch)), batch)

    def metrics(self) -> MetricCollection:
        """Return the toolkit's metrics in percent, and ``loss``, the training loss on the same
        frames of each validation sequence.

        Figures are means over the sequences, GOT-10k's over all frames. A target is missed where
        the network's outputs were not finite; the loss is the mean over all others.
        """
        names = [metric.name for metric in (self.metric, *self.other_metrics)]
        means = {name: MeanMetric(nan_strategy="error") for name in names}
        return MetricCollection({**means, "loss": FiniteMean()}, compute_groups=False)

    def update(
        self, metrics: MetricCollection, model: nn.Module, batch: list[int]
    ) -> tuple[Tensor, list[Track]]:
        """Follow the targets of a batch and count every one of them once.

        Returns:
            The success of every target in percent (GOT-10k: its mean overlap), NaN where the
            network's outputs were not finite, shape (B,), and where the targets were found.
        """
        device = next(model.parameters()).device
        outcomes, tracks = [], []
        for number in batch:
            track = self._follow(model, self._eval[number])
            figures = evaluate(
                self.data.toolkit,
                track.found,
                track.truth,
                visible=track.visible,
                image_size=track.image_size,
            )
            if figures["frames"]:
                weight = 1.0 if self.metric.mean_of_examples else figures["frames"]
                for metric in (self.metric, *self.other_metrics):
                    value = figures[_FIGURES.get(metric.name, metric.name)]
                    metrics[metric.name].update(value, weight)
            metrics["loss"].update(self._loss_of(model, number, device))
            outcomes.append(figures["success"] if np.isfinite(track.found).all() else np.nan)
            tracks.append(track)
        return torch.tensor(outcomes, dtype=torch.float32, device=device), tracks

    def save(self, batch: list[int], answers: list[Track], folder: Path) -> None:
        """Write the boxes found, a line ``x,y,w,h`` per frame, as ``folder/<sequence>.txt``."""
        for track in answers:
            lines = [",".join(f"{value:.4f}" for value in box) for box in track.found]
            write_text(folder / f"{track.name}.txt", "\n".join(lines) + "\n")

    @torch.no_grad()
    def show(self, model: nn.Module, folder: Path, device: torch.device) -> None:
        """Write the curves of all sequences, and frames of the first ones with boxes on them."""
        was_training = model.training
        model.eval()
        try:
            tracks = [self._follow(model, sequence) for sequence in self._eval]
        finally:
            model.train(was_training)
        write_tracking(folder, self.data.toolkit, tracks)
        for track, sequence in zip(tracks[:_SHOWN], self._eval, strict=False):
            write_strips(folder, track, Followed(sequence).frame)

    def _example(self, draws: Draws) -> dict[str, NDArray[Any]]:
        sequence = choose_sequence(self._sets, draws.generator(Stream.SEQUENCE))
        return self._kind.sample(sequence, draws)

    def _loss_of(self, model: nn.Module, number: int, device: torch.device) -> Tensor:
        example = self._kind.sample(self._eval[number], Draws(_LOSS_SEED, 0, number))
        return self.loss(model, _stacked([example], device)).float()


def _stacked(examples: Ordered[Mapping[str, NDArray[Any]]], device: torch.device) -> Batch:
    return {
        name: torch.from_numpy(np.stack([one[name] for one in examples])).to(device)
        for name in examples[0]
    }
