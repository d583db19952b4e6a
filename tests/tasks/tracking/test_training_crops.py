"""How crops differ from the target's place, and their colours from the frame's."""

from __future__ import annotations

import numpy as np
import pytest

from lwdna.tasks.tracking.crops import coloured, crop_about, jittered
from lwdna.tasks.tracking.settings import Jitter

BOX = (30.0, 40.0, 18.0, 8.0)
CENTRE = np.array([39.0, 44.0])


def test_without_jitter_the_box_is_the_targets():
    box = jittered(BOX, Jitter(centre=0, size=0), np.random.default_rng(0))
    assert box == pytest.approx(BOX)


def test_size_is_log_normal_and_the_centre_uniform_in_units_of_the_new_size():
    generator = np.random.default_rng(0)
    boxes = np.stack([jittered(BOX, Jitter(centre=3, size=0.25), generator) for _ in range(20_000)])
    logs = np.log(boxes[:, 2:] / [18.0, 8.0])
    assert logs.mean(axis=0) == pytest.approx([0, 0], abs=0.01)
    assert logs.std(axis=0) == pytest.approx([0.25, 0.25], rel=0.03)
    assert abs(np.corrcoef(logs.T)[0, 1]) < 0.03
    shifts = (boxes[:, :2] + boxes[:, 2:] / 2 - CENTRE) / np.sqrt(boxes[:, 2:].prod(axis=1))[
        :, None
    ]
    assert np.abs(shifts).max() < 1.5 < np.abs(shifts).max() + 0.01
    assert shifts.std(axis=0) == pytest.approx([3 / np.sqrt(12)] * 2, rel=0.02)


def test_a_crop_is_so_many_times_the_target():
    image = np.zeros((100, 90, 3), np.uint8)
    image[40:48, 30:48] = 200
    crop, window = crop_about(image, BOX, 5.0, 120, "replicate")
    assert crop.shape == (120, 120, 3)
    assert window.side == 60  # 5 sqrt(18 x 8)
    assert window.into(BOX) == pytest.approx([42, 52, 36, 16])
    inside = crop[52:68, 42:78]
    assert inside[3:-3, 3:-3].min() == 200
    assert crop[:48].max() == crop[72:].max() == 0


def test_brightness_is_of_each_frame_and_grey_of_all():
    crops = np.zeros((5, 4, 4, 3), np.uint8) + np.array([100, 50, 200], np.uint8)
    plain = coloured(crops, 0.0, 0.0, np.random.default_rng(0))
    assert np.array_equal(plain, crops)
    grey = coloured(crops, 1.0, 0.0, np.random.default_rng(0))
    assert (grey == round(0.299 * 100 + 0.587 * 50 + 0.114 * 200)).all()
    means = []
    for seed in range(300):
        changed = coloured(crops, 0.0, 0.2, np.random.default_rng(seed)).astype(float)
        factors = changed[:, 0, 0, 0] / 100
        assert np.abs(changed[:, 0, 0, 1] / 50 - factors).max() < 0.011
        means.extend(factors)
    assert min(means) == pytest.approx(0.8, abs=0.01)
    assert max(means) == pytest.approx(1.2, abs=0.01)
    assert coloured(crops + 50, 0.0, 0.5, np.random.default_rng(2)).max() == 255  # and not around


def test_one_example_in_twenty_is_grey():
    crops = np.zeros((1, 2, 2, 3), np.uint8) + np.array([100, 50, 200], np.uint8)
    generator = np.random.default_rng(0)
    grey = [len(np.unique(coloured(crops, 0.05, 0.2, generator))) == 1 for _ in range(4000)]
    assert np.mean(grey) == pytest.approx(0.05, abs=0.015)
