"""DiMP frame by frame: a filter finds the target, the IoU head fits the box."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lwdna.data.draws import Draws, Stream
from lwdna.data.sequences.crops import window_about
from lwdna.errors import ModelError, TrainingError
from lwdna.models.tracking.dimp import DiMP
from lwdna.models.tracking.iou_head import IoUHead, Pair
from lwdna.tasks.tracking.crops import crop_about
from lwdna.tasks.tracking.normalise import normalised
from lwdna.tasks.tracking.online.localise import between_cells, localise
from lwdna.tasks.tracking.online.memory import Memory
from lwdna.tasks.tracking.online.refine import Predict, ascend, best_box, part_about, starting_boxes
from lwdna.tasks.tracking.online.start import starting_samples
from lwdna.tasks.tracking.online.tracker import (
    Box,
    Found,
    Image,
    State,
    bounded,
    checked_box,
)
from lwdna.tasks.tracking.settings import TrackingSettings


@dataclass
class _Target:
    """What is known of the target that is followed."""

    first: Box
    """Its box in the first frame."""
    box: Box
    """In the last frame where it was found."""
    frame: int
    """Number of the last frame; the first is 0."""
    filter: Tensor
    """(1, C, k, k)."""
    memory: Memory
    modulation: Pair | None
    """What the IoU head knows of it."""


class DimpTracker:
    """The tracker of DiMP and SuperDiMP (Bhat et al., ICCV 2019, arXiv 1904.07220).

    Without an IoU head the box keeps the size that it has in the first frame, and its centre lies
    where the scores peak between the cells, which the published tracker leaves to the head. The
    centre stays inside the frame, and a target that is lost keeps its box until it is found again.

    Args:
        network: in eval mode, on the device to use.
        settings: crops (``image_size``, ``area``, ``border``) and rules (``online``).
        seed: of what is random.

    Raises:
        ModelError: the network is no DiMP.
    """

    def __init__(self, network: nn.Module, settings: TrackingSettings, *, seed: int = 0) -> None:
        if not isinstance(network, DiMP):
            raise ModelError(
                f"this tracker needs a DiMP network, not a {type(network).__name__}; choose one "
                "such as dimp18, dimp50 or dimp_tiny"
            )
        self._network = network
        self._settings = settings
        self._online = settings.online
        self._seed = seed
        self._device = next(network.parameters()).device
        self._target: _Target | None = None

    @torch.no_grad()
    def start(self, image: Image, box: Any) -> None:
        """Learn the target from its first frame; see :meth:`Tracker.start`."""
        first, network, start = checked_box(box, image), self._network, self._online.start
        window = window_about(first, self._settings.area, self._settings.image_size)
        random = self._random(0)
        crops, where = starting_samples(image, first, window, start, random)
        shallow, deep = network.backbone(self._inputs(crops))
        features, boxes = network.classifier.features(deep), self._tensor(where)
        if start.dropouts:
            kept = random.random((start.dropouts, features.shape[1])) >= start.dropout
            factors = self._tensor(kept / (1 - start.dropout))
            features = torch.cat([features, features[:1] * factors[..., None, None]])
            boxes = torch.cat([boxes, boxes[:1].expand(start.dropouts, -1)])
        memory = Memory(features, boxes, self._online.memory)
        modulation = None
        if network.iou is not None:
            modulation = network.iou.modulation(shallow[:1], deep[:1], boxes[:1])
        filter = network.classifier.initial_filter(features[None], boxes[None])
        self._target = _Target(first, first, 0, filter, memory, modulation)
        self._improve(self._target, start.steps)
        _check_finite(self._target.filter.cpu().numpy(), "filter is", 0)

    @torch.no_grad()
    def track(self, image: Image) -> Found:
        """Find the target in the next frame; see :meth:`Tracker.track`."""
        target, network, rules = self._target, self._network, self._online
        if target is None:
            raise RuntimeError("start() comes before track()")
        target.frame += 1
        data = self._settings
        crop, window = crop_about(image, target.box, data.area, data.image_size, data.border)
        shallow, deep = network.backbone(self._inputs(crop[None]))
        features = network.classifier.features(deep)
        scores = network.classifier.scores(features[None], target.filter)[0, 0].cpu().numpy()
        _check_finite(scores, "scores are", target.frame)
        stride, odd = network.strides[1], network.filter_size % 2
        last = window.into(target.box)
        (x, y), size = (last[:2] + last[2:] / 2) / stride - odd / 2, last[2:] / stride
        place = localise(scores, (x, y), (size[0], size[1]), rules.localisation)
        if place.state == "not_found":
            return Found(target.box.copy(), place.score, place.state)
        peak: tuple[float, float] = place.x, place.y
        if network.iou is None:  # which would make up for a cell's width
            peak = between_cells(scores, place.x, place.y)
        centre = (np.array(peak) + odd / 2) * stride
        moved = window.out_of(np.concatenate([centre - last[2:] / 2, last[2:]]))
        box = bounded(moved, image, target.first)
        if network.iou is not None and target.modulation is not None:
            maps = network.iou.features(shallow, deep)
            predict = partial(_overlaps, network.iou, target.modulation, maps)
            refined = self._refined(predict, window.into(box), target.frame)
            if refined is not None:
                box = bounded(window.out_of(refined), image, target.first)
        target.box = box
        self._learn(target, features[0], window.into(box), place.state)
        return Found(box.copy(), place.score, place.state)

    def _refined(self, predict: Predict, box: Box, frame: int) -> Box | None:
        """Return the box of the crop whose overlap is largest, near ``box``; None without any."""
        settings = self._online.boxes
        starts = starting_boxes(box, settings, self._random(frame))
        steps, overlaps = ascend(predict, self._tensor(starts), settings)
        found = torch.cat([steps[-1], overlaps[:, None]], 1).cpu().double().numpy()
        _check_finite(found, "boxes are", frame)
        return best_box(found[:, :4], found[:, 4], settings)

    def _learn(self, target: _Target, features: Tensor, box: Box, state: State) -> None:
        """Remember a frame (features (C, h, w), box of the crop), and improve the filter if due."""
        rules = self._online.memory
        if state not in ("normal", "hard_negative"):
            return
        hard = state == "hard_negative"
        target.memory.add(
            features, self._tensor(box), rules.hard_negative_rate if hard else rules.rate
        )
        if hard:
            self._improve(target, rules.hard_negative_steps)
        elif target.frame % rules.interval == 0:
            self._improve(target, rules.steps)

    def _improve(self, target: _Target, steps: int) -> None:
        if steps:
            features, boxes, weights = target.memory.samples()
            filters, _ = self._network.classifier.optimize(
                target.filter, features, boxes, weights, steps
            )
            target.filter = filters[-1]

    def _inputs(self, crops: NDArray[np.uint8]) -> Tensor:
        """Return crops (n, S, S, 3) as the network takes them, (n, 3, S, S)."""
        return normalised(torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2))

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self._device, torch.float32)

    def _random(self, frame: int) -> np.random.Generator:
        """Return a generator for one frame, whatever the others drew."""
        return Draws(self._seed, 0, frame).generator(Stream.PROPOSALS)


def _overlaps(head: IoUHead, modulation: Pair, maps: Pair, boxes: Tensor) -> Tensor:
    """Return the overlaps (P,) of boxes (P, 4) of one crop."""
    part, start = part_about(boxes, maps, head.strides)
    return head.predict(modulation, part, (boxes - start)[None])[0]


def _check_finite(values: NDArray[Any], what: str, frame: int) -> None:
    """Raises: TrainingError: some are not."""
    if not np.isfinite(values).all():
        raise TrainingError(
            f"the network's {what} not finite in frame {frame} (the first is 0); its weights "
            "are damaged, or its training diverged: train again with a smaller learning rate"
        )
