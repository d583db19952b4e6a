"""Samples of the first frame, localisation, memory and refinement, against numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lwdna.data.sequences import window_about
from lwdna.models.tracking.prroi import precise_roi_pool
from lwdna.tasks.tracking.online.localise import localise
from lwdna.tasks.tracking.online.memory import Memory
from lwdna.tasks.tracking.online.refine import ascend, best_box, part_about, starting_boxes
from lwdna.tasks.tracking.online.settings import (
    BoxSettings,
    LocalisationSettings,
    MemorySettings,
    OnlineSettings,
    StartSettings,
)
from lwdna.tasks.tracking.online.start import starting_samples
from tasks.tracking.red import scene

BOX = np.array([61.0, 47.0, 22.0, 14.0])


def first_samples(settings, seed=0):
    image = scene((61, 47, 22, 14, 255))
    window = window_about(BOX, 5, 96)
    random = np.random.default_rng(seed)
    return starting_samples(image, BOX, window, settings, random)


def test_the_target_is_in_every_first_sample_where_its_box_says():
    crops, boxes = first_samples(StartSettings())
    assert crops.shape == (13, 96, 96, 3)  # two of the 15 miss channels, later
    assert crops.dtype == np.uint8
    rows, columns = np.mgrid[:96, :96] + 0.5
    for number, (crop, box) in enumerate(zip(crops, boxes, strict=True)):
        red = crop[..., 0] / 255.0
        centre = (red * columns).sum() / red.sum(), (red * rows).sum() / red.sum()
        assert centre == pytest.approx(box[:2] + box[2:] / 2, abs=0.1), number
        assert red.sum() == pytest.approx(box[2] * box[3], rel=0.03), number


def test_first_samples_move_as_far_as_they_should():
    boxes = first_samples(StartSettings())[1]
    moves = boxes[:, :2] + boxes[:, 2:] / 2 - 48
    assert moves[0] == pytest.approx([0, 0], abs=1e-9)
    corner = 0.6 * 48
    wanted = [[-corner, -corner], [-corner, corner], [corner, -corner], [corner, corner]]
    assert sorted(moves[1:5].tolist()) == [pytest.approx(one) for one in wanted]
    assert np.abs(moves[5:]).max() <= 96 / 6
    assert len(np.unique(moves[5:], axis=0)) == 8
    assert not np.array_equal(boxes, first_samples(StartSettings(), seed=1)[1])


def test_samples_are_mirrored_blurred_and_rotated():
    image = np.random.default_rng(2).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    window = window_about(BOX, 5, 96)

    def sample(**changes):
        none = {"shift": 0, "flip": False, "blurs": (), "rotations": (), "random_shift": 0}
        crops, _ = starting_samples(
            image, BOX, window, StartSettings(**(none | changes)), np.random.default_rng(0)
        )
        assert len(crops) == 1 + bool(changes)
        return crops[-1].astype(np.float64)

    crop = sample()
    assert np.array_equal(sample(flip=True), crop[:, ::-1])
    assert np.abs(sample(rotations=(90,)) - np.rot90(crop)).max() <= 2
    assert np.abs(sample(rotations=(-90,)) - np.rot90(crop, -1)).max() <= 2
    blurred = sample(blurs=((2, 0.01),))
    assert blurred.mean(0) == pytest.approx(crop.mean(0), abs=8)
    assert np.diff(blurred, axis=0).std() < 0.4 * np.diff(crop, axis=0).std()
    assert np.diff(blurred, axis=1).std() > 0.25 * np.diff(crop, axis=1).std()


def test_settings_count_the_first_samples():
    assert StartSettings().samples == 15
    assert StartSettings(shift=0, flip=False, blurs=(), rotations=(7,), dropouts=3).samples == 5
    with pytest.raises(ValueError, match=r"memory.size \(15\) must be more than the 15 samples"):
        OnlineSettings(memory=MemorySettings(size=15))
    with pytest.raises(ValueError, match=r"best \(3\) must not be more than starts \(2\)"):
        BoxSettings(starts=2)


def place(scores, previous=(3.0, 3.0), size=(1.0, 1.0), **rules):
    return localise(np.array(scores), previous, size, LocalisationSettings(**rules))


def peaks(*cells, side=7):
    scores = np.zeros((side, side))
    for x, y, height in cells:
        scores[y, x] = height
    return scores


def test_a_peak_is_the_target_if_it_is_high_enough():
    found = place(peaks((5, 2, 0.3)))
    assert (found.x, found.y, found.score, found.state) == (5, 2, 0.3, "normal")
    assert place(peaks((5, 2, 0.24))).state == "not_found"
    assert place(peaks((5, 2, 0.24)), not_found=0.2).state == "normal"


def test_a_second_peak_counts_outside_of_the_neighbourhood_only():
    # 2.2 times a target of one cell: from 2 - 1.1 to 2 + 1.1 + 1, cells 1 to 3
    assert place(peaks((2, 2, 0.9), (3, 2, 0.7))).state == "normal"
    assert place(peaks((2, 2, 0.9), (4, 2, 0.7))).state == "hard_negative"
    assert place(peaks((2, 2, 0.9), (4, 2, 0.7)), size=(2.0, 1.0)).state == "normal"
    assert place(peaks((2, 2, 0.9), (2, 4, 0.7)), size=(2.0, 1.0)).state == "hard_negative"
    assert place(peaks((2, 2, 0.4), (4, 2, 0.24))).state == "normal"  # no peak at all
    assert place(np.full((7, 7), 0.5), size=(9.0, 9.0)).state == "normal"


def test_like_peaks_are_told_apart_by_how_far_they_are():
    # the limit is 0.8 * 7 / 2 = 2.8 cells
    near, far = (2, 3, 0.8), (6, 3, 0.9)
    found = place(peaks(near, far))
    assert (found.x, found.score, found.state) == (2, 0.8, "hard_negative")
    assert place(peaks((2, 3, 0.9), (6, 3, 0.8))).x == 2
    assert place(peaks(near, far), previous=(4.0, 3.0)).state == "uncertain"
    assert place(peaks(near, far), previous=(4.0, 3.0)).x == 6
    assert place(peaks(near, far), previous=(4.0, 6.9)).state == "uncertain"
    assert place(peaks(near, far), displacement=2).state == "uncertain"


def filled(first=2, **settings):
    features = torch.arange(first, dtype=torch.float32).reshape(first, 1, 1, 1)
    return Memory(features, torch.zeros(first, 4), MemorySettings(**settings))


def added(memory, value, rate):
    return memory.add(torch.full((1, 1, 1), value), torch.full((4,), value), rate)


def test_newer_samples_weigh_more_by_their_rates():
    memory = filled(size=5, first_frame=0)
    assert added(memory, 10.0, 0.2) == 2
    # 0.5, 0.5 over 0.8 and 0.2: 1.45 in all
    assert memory.weights == pytest.approx([0.625 / 1.45, 0.625 / 1.45, 0.2 / 1.45, 0, 0])
    assert added(memory, 11.0, 0.5) == 3
    assert memory.weights[3] == pytest.approx(2 * memory.weights[2])
    assert memory.weights.sum() == pytest.approx(1)


def test_the_lightest_sample_makes_room_and_the_first_frame_stays():
    memory = filled(size=4)
    places = [added(memory, 10.0 + number, 0.3) for number in range(5)]
    assert places == [2, 3, 2, 3, 2]
    features, boxes, weights = memory.samples()
    assert features.shape == (1, 4, 1, 1, 1)
    assert features.flatten().tolist() == [0, 1, 14, 13]
    assert boxes[0, :, 0].tolist() == [0, 0, 14, 13]
    assert weights.tolist() == [pytest.approx(memory.weights.tolist())]
    assert memory.weights[2] / memory.weights[3] == pytest.approx(1 / 0.7)


def test_the_first_frame_keeps_a_least_weight():
    memory = filled(size=6, first_frame=0.6)
    added(memory, 1.0, 0.5)
    assert memory.weights[:3] == pytest.approx([0.4, 0.4, 0.2])
    for rate in (0.6, 0.7, 0.3):
        added(memory, 1.0, rate)  # 0.8 / 1.5 would be less
        assert memory.weights[:2].tolist() == [0.3, 0.3]
    for number, rate in ((3, 0.6), (4, 0.7), (5, 0.3)):
        ratio = memory.weights[number] / memory.weights[number - 1]
        assert ratio == pytest.approx(1 / (1 - rate))


def test_only_what_is_held_is_given_out():
    memory = filled(size=9)
    added(memory, 5.0, 0.01)
    features, boxes, weights = memory.samples()
    assert (features.shape[1], boxes.shape[1], weights.shape[1]) == (3, 3, 3)
    assert features.untyped_storage().data_ptr() == memory.samples()[0].untyped_storage().data_ptr()


def test_refinement_starts_at_the_box_and_near_it():
    box = np.array([10.0, 20.0, 40.0, 10.0])  # the square root of its area is 20
    boxes = starting_boxes(box, BoxSettings(starts=500), np.random.default_rng(0))
    assert boxes.shape == (500, 4)
    assert boxes[0].tolist() == box.tolist()
    centres, sizes = boxes[1:, :2] + boxes[1:, 2:] / 2, boxes[1:, 2:]
    offsets = centres - (30, 25)
    assert np.abs(offsets).max() <= 1
    assert np.abs(offsets).max() > 0.95
    assert (sizes >= (35, 5)).all()
    assert (sizes <= (45, 15)).all()
    assert sizes.min(0) == pytest.approx([35, 5], abs=0.2)
    thin = np.array([0.0, 0.0, 90.0, 10.0])
    assert starting_boxes(thin, BoxSettings(starts=99), np.random.default_rng(0))[:, 3].min() == (
        pytest.approx(10 / 3)
    )


def test_steps_in_pixels_are_gradients_times_sizes():
    boxes = torch.tensor([[1.0, 2.0, 3.0, 5.0], [0.0, 0.0, 7.0, 11.0]], dtype=torch.float64)
    factors = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    steps, overlaps = ascend(
        lambda b: b @ factors, boxes, BoxSettings(steps=2, step=0.5, decay=0.1)
    )
    assert len(steps) == 2
    first = [[1 + 0.15, 2 + 0.5, 3 + 0.45, 5 + 1.0], [0.35, 1.1, 7 + 1.05, 11 + 2.2]]
    assert steps[0].tolist() == [pytest.approx(one) for one in first]
    assert overlaps.tolist() == pytest.approx((steps[0] @ factors).tolist())  # before the last step
    assert steps[1][0, 0] == pytest.approx(1.15 + 0.05 * 0.1 * 3.45)
    assert not steps[1].requires_grad


def test_steps_in_relative_space_move_centres_by_the_first_box_and_scale_sizes():
    boxes = torch.tensor([[1.0, 2.0, 4.0, 6.0], [0.0, 0.0, 8.0, 2.0]], dtype=torch.float64)

    def slope(b):  # one per pixel of the centre's x, two per pixel of the height
        return b[:, 0] + b[:, 2] / 2 + 2 * b[:, 3]

    (moved,), overlaps = ascend(slope, boxes, BoxSettings(space="relative", steps=1, step=0.1))
    assert overlaps.tolist() == [15, 8]
    centres, heights = moved[:, 0] + moved[:, 2] / 2, moved[:, 3]
    # x / 4 grows by 0.1 * 4, log h by 0.1 * 2 h
    assert centres.tolist() == pytest.approx([3 + 1.6, 4 + 1.6])
    assert heights.tolist() == pytest.approx([6 * np.exp(1.2), 2 * np.exp(0.4)])
    assert moved[:, 2].tolist() == pytest.approx([4, 8])


def test_the_best_boxes_are_averaged_and_long_ones_left_out():
    boxes = np.array(
        [[0, 0, 10, 10], [2, 2, 10, 10], [4, 4, 10, 10], [9, 9, 10, 70], [90, 90, 10, 10]],
        np.float64,
    )
    overlaps = np.array([0.5, 0.7, 0.6, 0.9, 0.1])
    assert best_box(boxes, overlaps, BoxSettings()).tolist() == [2, 2, 10, 10]
    assert best_box(boxes, overlaps, BoxSettings(best=1)).tolist() == [2, 2, 10, 10]
    assert best_box(boxes, overlaps, BoxSettings(best=2, aspect=8)).tolist() == [5.5, 5.5, 10, 40]
    assert best_box(boxes[3:4], overlaps[3:4], BoxSettings(starts=3)) is None
    shrunk = np.array([[3.0, 3.0, -2.0, 0.4]])
    assert best_box(shrunk, np.zeros(1), BoxSettings()).tolist() == [3, 3, 1, 1]


@pytest.mark.parametrize(
    ("boxes", "sizes"),
    [
        # pixels 40 to 85 across, 17 to 40 down: from cells 5 and 2 to 11 and 5 of 8 pixels, where
        # the coarse map starts at whole cells of 16
        ([[40, 17, 20, 3], [66, 23, 19, 17]], ((4, 8), (3, 5))),
        ([[-30, -9, 7, 4]], ((1, 1), (1, 1))),
        ([[300, 200, 7, 4]], ((2, 2), (1, 1))),
        ([[-20, -20, 400, 400]], ((20, 24), (10, 12))),
        ([[50, 50, -9, 10]], ((3, 4), (2, 3))),
    ],
)
def test_pooling_needs_only_the_part_of_the_maps_about_the_boxes(boxes, sizes):
    random = torch.Generator().manual_seed(1)
    maps = tuple(
        torch.rand((1, 3, *size), generator=random, dtype=torch.float64)
        for size in ((20, 24), (10, 12))
    )
    boxes = torch.tensor(boxes, dtype=torch.float64)
    parts, start = part_about(boxes, maps, (8, 16))
    assert tuple(tuple(part.shape[2:]) for part in parts) == sizes
    for part, whole, stride in zip(parts, maps, (8, 16), strict=True):
        pooled, wanted = (
            precise_roi_pool(
                features, torch.cat([at[:, :2], at[:, :2] + at[:, 2:]], 1)[None], 3, 1 / stride
            )
            for features, at in ((part, boxes - start), (whole, boxes))
        )
        torch.testing.assert_close(pooled, wanted, rtol=1e-12, atol=1e-12)


def test_boxes_that_are_not_finite_need_the_whole_maps():
    maps = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 2, 2)
    boxes = torch.tensor([[1.0, 2.0, 3.0, 4.0], [torch.nan, 2.0, 3.0, 4.0]])
    parts, start = part_about(boxes, maps, (8, 16))
    assert parts[0] is maps[0]
    assert start.tolist() == [0] * 4
