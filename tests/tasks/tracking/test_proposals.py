"""Boxes that a network learns to judge."""

from __future__ import annotations

import numpy as np
import pytest

from lwdna.tasks.tracking.metrics import overlaps
from lwdna.tasks.tracking.proposals import boxes_by_density, boxes_by_overlap

TARGET = np.array([31.0, 17.0, 40.0, 23.0])


def against(target, boxes):
    return overlaps(boxes, np.broadcast_to(target, boxes.shape))


@pytest.mark.parametrize("target", [TARGET, np.array([5.0, 5.0, 3.0, 90.0])])
def test_boxes_overlap_with_the_target_more_or_less(target):
    boxes, shared = boxes_by_overlap(target, 2000, np.random.default_rng(0))
    assert shared == pytest.approx(against(target, boxes))
    assert (shared > 0.1).all()
    assert (boxes[:, 2:] > 0).all()
    histogram = np.histogram(shared, np.linspace(0.1, 1, 10))[0]
    assert histogram.min() > 30  # from the barely overlapping to the nearly exact


def test_sigmas_are_in_units_of_the_mean_side():
    """Of five equal parts the narrowest, 0.01 times 30.3 pixels, makes a fifth; the widest reaches
    more than two times the next one's deviation."""
    boxes, _ = boxes_by_overlap(TARGET, 4000, np.random.default_rng(0))
    shift = (boxes[:, 0] + boxes[:, 2] / 2 - 51.0) / np.sqrt(40 * 23)
    assert np.mean(np.abs(shift) < 0.02) == pytest.approx(
        np.mean([0.9545, 0.3108, 0.1585, 0.0797, 0.0532]), abs=0.04
    )
    assert np.abs(shift).max() > 0.4


def test_densities_are_those_that_boxes_are_drawn_from():
    """The mean of p / q over boxes drawn from q is 1, and q integrates to 1: the mean of any other
    density over q is 1 as well. The wider part of the mixture reaches half a target away."""
    boxes, sampled, wanted = boxes_by_density(TARGET, 40_000, np.random.default_rng(0))
    ratio = np.exp(wanted - sampled)
    assert ratio.mean() == pytest.approx(1.0, abs=0.03)
    assert ratio.max() <= 2.0  # half of the boxes come from the density wanted
    shifts = (boxes[:, :2] + boxes[:, 2:] / 2 - [51.0, 28.5]) / [40.0, 23.0]
    logs = np.log(boxes[:, 2:] / [40.0, 23.0])
    offsets = np.concatenate([shifts, logs], axis=1)
    assert offsets.std(axis=0) == pytest.approx([np.sqrt((0.05**2 + 0.5**2) / 2)] * 4, rel=0.03)
    other = np.exp(-0.5 * (offsets / 0.3) ** 2) / (0.3 * np.sqrt(2 * np.pi))
    assert np.mean(other.prod(axis=1) / np.exp(sampled)) == pytest.approx(1.0, abs=0.05)
    by_hand = np.exp(-0.5 * (offsets[0] / 0.05) ** 2).prod() / (0.05 * np.sqrt(2 * np.pi)) ** 4
    assert np.exp(wanted[0]) == pytest.approx(by_hand)
