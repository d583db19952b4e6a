"""Boxes are refined: gradient ascent on the overlap that a network predicts for a box."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lwdna.tasks.tracking.online.settings import BoxSettings
from lwdna.tasks.tracking.online.tracker import Box

Boxes = NDArray[np.float64]
Predict = Callable[[Tensor], Tensor]
"""Overlaps (P,) of boxes (P, 4), differentiable in them."""


def starting_boxes(box: Box, settings: BoxSettings, random: np.random.Generator) -> Boxes:
    """Return the boxes that refinement starts from, (starts, 4): ``box`` and random ones about it.

    Args:
        box: x, y, w, h.
        settings: number of starts and range of the random ones.
        random: gives four numbers per random start.
    """
    draws = random.random((settings.starts - 1, 4)) - 0.5
    length = np.sqrt(box[2] * box[3])
    least = settings.least_side * box[2:].min()
    centres = box[:2] + box[2:] / 2 + settings.position_jitter * length * draws[:, :2]
    sizes = np.maximum(box[2:] + settings.size_jitter * length * draws[:, 2:], least)
    return np.concatenate([box[None], np.concatenate([centres - sizes / 2, sizes], 1)])


def ascend(predict: Predict, boxes: Tensor, settings: BoxSettings) -> tuple[list[Tensor], Tensor]:
    """Move every box towards a larger overlap.

    In pixels, a step moves x, y, w, h by the gradient times w, h, w, h. In relative space the
    variables are the centre over the size of the first box, and the logarithms of width and height.

    Args:
        predict: what is climbed.
        boxes: x, y, w, h, (P, 4).
        settings: space, steps and their lengths.

    Returns:
        The boxes after each step, and the overlaps before the last one, (P,).
    """
    boxes, length = boxes.detach(), settings.step
    unit = boxes[:1, 2:]
    steps: list[Tensor] = []
    overlaps = boxes.new_zeros(len(boxes))
    for _ in range(settings.steps):
        if settings.space == "relative":
            start = torch.cat([(boxes[:, :2] + boxes[:, 2:] / 2) / unit, boxes[:, 2:].log()], 1)
            overlaps, slope = _slope(lambda centred: predict(_absolute(centred, unit)), start)
            boxes = _absolute(start + length * slope, unit)
        else:
            overlaps, slope = _slope(predict, boxes)
            boxes = boxes + length * slope * boxes[:, 2:].repeat(1, 2)
        steps.append(boxes)
        length *= settings.decay
    return steps, overlaps


def best_box(boxes: Boxes, overlaps: NDArray[np.float64], settings: BoxSettings) -> Box | None:
    """Return the mean of the boxes with the largest overlaps; None if all are too long.

    Args:
        boxes: x, y, w, h, (P, 4).
        overlaps: predicted, (P,).
        settings: how many count, and which are too long.
    """
    boxes = np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:], 1)], 1)
    aspect = boxes[:, 2] / boxes[:, 3]
    counts = (aspect < settings.aspect) & (aspect > 1 / settings.aspect)
    if not counts.any():
        return None
    order = np.argsort(-overlaps[counts], kind="stable")[: settings.best]
    mean: Box = boxes[counts][order].mean(0)
    return mean


def part_about(
    boxes: Tensor, maps: tuple[Tensor, Tensor], strides: tuple[int, int]
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the part of the maps that precise RoI pooling of the boxes reads.

    Targets take a small part of a crop; pooling costs as much as the maps are large.

    Args:
        boxes: x, y, w, h in pixels, (P, 4).
        maps: (1, C, H, W) each.
        strides: pixels per cell of each; cell i lies at pixel i times the stride.

    Returns:
        Views of the maps, and where they begin: x, y, 0, 0 in pixels, to be taken from the boxes.
        The whole maps if a box is not finite.
    """
    corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]).detach()
    if not corners.isfinite().all():
        return maps, boxes.new_zeros(4)
    step = math.lcm(*strides)
    rows, columns = maps[1].shape[-2:]
    last = [(cells - 1) * strides[1] // step for cells in (columns, rows)]
    low, high = corners.amin(0).tolist(), corners.amax(0).tolist()
    left, top = (
        step * min(max(math.floor(start / step), 0), most)
        for start, most in zip(low, last, strict=True)
    )
    fine, coarse = (
        each[
            ...,
            top // stride : max(math.ceil(high[1] / stride), top // stride) + 1,
            left // stride : max(math.ceil(high[0] / stride), left // stride) + 1,
        ]
        for each, stride in zip(maps, strides, strict=True)
    )
    return (fine, coarse), boxes.new_tensor([left, top, 0, 0])


def _slope(function: Predict, start: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values of a function of rows, and the gradient of each with respect to its row."""
    with torch.enable_grad():
        variable = start.clone().requires_grad_()
        values = function(variable)
        (gradient,) = torch.autograd.grad(values.sum(), variable)
    return values.detach(), gradient


def _absolute(centred: Tensor, unit: Tensor) -> Tensor:
    """Return x, y, w, h of centres in units of ``unit`` and logarithms of sizes."""
    sizes = centred[:, 2:].exp()
    return torch.cat([centred[:, :2] * unit - sizes / 2, sizes], 1)
