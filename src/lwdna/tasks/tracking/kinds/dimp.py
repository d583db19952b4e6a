"""DiMP: a filter learnt from the first frame, and overlaps of boxes with the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lwdna.data.draws import Draws, Stream
from lwdna.data.sequences import Sequence
from lwdna.tasks.tracking.crops import coloured, crop_about, jittered
from lwdna.tasks.tracking.kinds.kind import register_tracker
from lwdna.tasks.tracking.labels import ScoreGrid, gaussian_labels
from lwdna.tasks.tracking.losses import density_loss, overlap_loss, score_loss
from lwdna.tasks.tracking.normalise import normalised
from lwdna.tasks.tracking.online.tracker import Tracker
from lwdna.tasks.tracking.proposals import Box, boxes_by_density, boxes_by_overlap
from lwdna.tasks.tracking.sampling import choose_frames, showing
from lwdna.tasks.tracking.settings import TrackingSettings


@register_tracker("dimp")
class DimpKind:
    """DiMP and SuperDiMP (Bhat et al., ICCV 2019, arXiv 1904.07220).

    An example holds ``train_images`` (T, 3, S, S) and ``test_images`` (N, 3, S, S), uint8, the
    target's boxes x, y, w, h in pixels of each, ``train_boxes`` (T, 4) and ``test_boxes`` (N, 4),
    and, with an IoU head, ``proposals`` (N, P, 4) beside what is wanted of each, (N, P): its
    overlap with the target (``overlaps``) or, for the density of boxes, ``log_sampled`` and
    ``log_wanted``.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self._settings = settings

    def example_inputs(self) -> dict[str, Tensor]:
        """Return one training and one test frame of noise, and proposals for the IoU head."""
        side, generator = self._settings.image_size, torch.Generator().manual_seed(0)
        images = torch.randn((2, 1, 1, 3, side, side), generator=generator)
        target = side / self._settings.area
        start = (side - target) / 2
        box = np.array([start, start, target, target])
        inputs = {
            "train_images": images[0],
            "train_boxes": torch.tensor(box, dtype=torch.float32)[None, None],
            "test_images": images[1],
        }
        if self._settings.proposals:
            near, _ = boxes_by_overlap(box, self._settings.proposals, np.random.default_rng(0))
            inputs["proposals"] = torch.tensor(near, dtype=torch.float32)[None, None]
        return inputs

    def model_args(self) -> dict[str, Any]:
        """Return whether the network has an IoU head."""
        return {"iou_head": self._settings.proposals > 0}

    def sample(self, sequence: Sequence, draws: Draws) -> dict[str, NDArray[Any]]:
        """Make an example of some frames of a sequence and some that come after them.

        Raises:
            DataError: a frame cannot be read.
        """
        data = self._settings
        frames = choose_frames(
            showing(sequence),
            data.train_frames,
            data.test_frames,
            data.gap,
            draws.generator(Stream.FRAMES),
        )
        jitters = data.train_jitter, data.test_jitter
        places = draws.generator(Stream.CROP)
        crops, boxes = [], []
        for numbers, jitter in zip(frames, jitters, strict=True):
            for number in numbers:
                about = jittered(sequence.boxes[number], jitter, places)
                crop, window = crop_about(
                    sequence.frame(number), about, data.area, data.image_size, data.border
                )
                crops.append(crop)
                boxes.append(window.into(sequence.boxes[number]))
        pixels = coloured(
            np.stack(crops), data.greyscale, data.brightness, draws.generator(Stream.COLOUR)
        )
        images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        truth = np.stack(boxes)
        learnt = data.train_frames
        return {
            "train_images": images[:learnt],
            "train_boxes": truth[:learnt].astype(np.float32),
            "test_images": images[learnt:],
            "test_boxes": truth[learnt:].astype(np.float32),
            **self._proposals(truth[learnt:], draws),
        }

    def _proposals(
        self, truth: NDArray[np.float64], draws: Draws
    ) -> dict[str, NDArray[np.float32]]:
        """Return boxes near each true one, (N, P, 4), and what is wanted of them, (N, P)."""
        count = self._settings.proposals
        if not count:
            return {}
        generator = draws.generator(Stream.PROPOSALS)
        names: tuple[str, ...] = ("proposals", "overlaps")
        draw: Callable[[Box, int, np.random.Generator], tuple[NDArray[np.float64], ...]]
        draw = boxes_by_overlap
        if self._settings.box_loss == "kl":
            names, draw = ("proposals", "log_sampled", "log_wanted"), boxes_by_density
        parts = zip(*(draw(box, count, generator) for box in truth), strict=True)
        return {
            name: np.stack(part).astype(np.float32) for name, part in zip(names, parts, strict=True)
        }

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the images normalised, training boxes and, if there are any, proposals."""
        inputs = {
            "train_images": normalised(batch["train_images"]),
            "train_boxes": batch["train_boxes"],
            "test_images": normalised(batch["test_images"]),
        }
        if "proposals" in batch:
            inputs["proposals"] = batch["proposals"]
        return inputs

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the loss of scores and that of boxes, a scalar.

        Raises:
            ModelError: the network's stride is no power of 2.
        """
        data = self._settings
        scores, *judged = outputs
        grid = ScoreGrid.of(scores.shape[-1], data.image_size)
        sigma = data.label_sigma * data.image_size / (data.area * grid.stride)
        boxes = batch["test_boxes"].to(scores.dtype)
        labels = gaussian_labels(boxes, grid, sigma)
        loss = score_loss(scores, labels, data.loss_weights, data.hinge)
        if not judged:
            return loss
        if "log_sampled" in batch:
            about_boxes = density_loss(judged[0], batch["log_sampled"], batch["log_wanted"])
        else:
            about_boxes = overlap_loss(judged[0], batch["overlaps"])
        return loss + data.loss_weights.box * about_boxes

    def tracker(self, network: nn.Module, seed: int) -> Tracker:
        """Return DiMP's online tracker.

        Raises:
            ModelError: the network is no DiMP, or has no IoU head although it should.
        """
        from lwdna.tasks.tracking.online.dimp import DimpTracker

        return DimpTracker(network, self._settings, seed=seed)
