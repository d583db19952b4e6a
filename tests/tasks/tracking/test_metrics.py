"""Tracks of a few frames, judged by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from lwdna.errors import DataError
from lwdna.tasks.tracking.metrics import (
    TOOLKITS,
    Track,
    centre_distances,
    evaluate,
    normalised_distances,
    overlaps,
    summary,
    tracking_record,
)

NONE = [math.nan] * 4
SIZE = (100, 50)
PERFECT = 100 * 20 / 21
"""An overlap of 1 is not above the last of 21 thresholds."""


def boxes(*rows):
    return np.array(rows, dtype=np.float64)


def judged(toolkit, found, truth, **more):
    return evaluate(toolkit, boxes(*found), boxes(*truth), image_size=SIZE, **more)


def test_overlaps_and_distances():
    """Boxes of 7x5 pixels, 3 and 2 apart: 4x3 of 2x35 pixels are common."""
    truth = boxes([0, 0, 7, 5], [0, 0, 7, 5], [0, 0, 7, 5], [0, 0, 7, 0], NONE)
    found = boxes([3, 2, 7, 5], [7, 0, 7, 5], NONE, [0, 0, 7, 0], [0, 0, 7, 5])
    assert overlaps(found, truth).tolist() == [12 / 58, 0, 0, 0, 0]
    assert centre_distances(found, truth).tolist() == [math.sqrt(13), 7, math.inf, 0, math.inf]
    parts = normalised_distances(found, truth)
    assert parts[0] == pytest.approx(math.hypot(3 / 7, 2 / 5))
    assert parts[1:].tolist() == [1, math.inf, math.inf, math.inf]


def test_equal_boxes_never_overlap_by_more_than_one():
    """0.1 + 0.2 is above 0.3, so rounding makes the common part too large."""
    rng = np.random.default_rng(0)
    some = rng.uniform(0, 100, (1000, 4))
    assert overlaps(some, some).max() == 1
    assert overlaps(some, some).min() > 1 - 1e-12


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_the_first_box_found_does_not_count(toolkit):
    truth = [[1, 2, 10, 10], [1, 2, 10, 10]]
    there = judged(toolkit, truth, truth)
    away = judged(toolkit, [[60, 30, 10, 10], truth[1]], truth)
    assert away == there
    assert there["frames"] == (1 if toolkit == "got10k" else 2)


@pytest.mark.parametrize(
    ("toolkit", "success"),
    [
        # overlap 1 passes 20 of 21 thresholds, overlap 1/2 those from 0 to 0.45
        ("otb", 100 * (20 + 10 + 10) / 63),
        ("lasot", 100 * (20 + 10 + 10) / 63),
        ("pytracking", 100 * (20 + 10 + 10) / 63),
        ("got10k", 50),
        # 11 shares of 1 and then none: 10.5 of 20 intervals
        ("trackingnet", 100 * (1 + 2 * 10.5 / 20) / 3),
    ],
)
def test_an_overlap_equal_to_a_threshold(toolkit, success):
    found = judged(toolkit, 3 * [[4, 2, 10, 5]], 3 * [[4, 2, 10, 10]])
    assert found["success"] == pytest.approx(success, rel=1e-12)
    if "sr50" in found:
        assert found["sr50"] == (0 if toolkit == "got10k" else pytest.approx(100 / 3))


FOLLOWED = {
    "otb": PERFECT,
    "lasot": PERFECT * 3 / 5,
    "lasot_got10k": PERFECT,
    "got10k": 100,
    "pytracking": PERFECT * 3 / 5,
    "pytracking_valid": PERFECT,
    "trackingnet": 100,
}


@pytest.mark.parametrize(("toolkit", "success"), FOLLOWED.items())
def test_frames_without_truth(toolkit, success):
    """Found where it is, in three frames of five; in the others nobody knows."""
    truth = [[1, 2, 10, 10], NONE, [2, 3, 10, 10], NONE, [3, 4, 10, 10]]
    found = [[1, 2, 10, 10], [50, 2, 10, 10], [2, 3, 10, 10], NONE, [3, 4, 10, 10]]
    whole = judged(toolkit, found, truth)
    assert whole["success"] == pytest.approx(success)
    if toolkit != "trackingnet" and "precision" in whole:
        share = 100 if success in (PERFECT, 100) else 60
        assert whole["precision"] == pytest.approx(share)
        assert whole["normalised_precision"] == pytest.approx(share)


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_a_target_that_cannot_be_seen(toolkit):
    """The tracker errs where the target is hidden: only two toolkits blame it for that."""
    truth = 4 * [[1, 2, 10, 10]]
    found = [*truth[:3], [60, 20, 10, 10]]
    visible = np.array([True, True, True, False])
    with_error = judged(toolkit, found, truth, visible=visible)
    if toolkit in ("otb", "trackingnet"):
        assert with_error == judged(toolkit, found, truth)
    else:
        assert with_error == judged(toolkit, truth, truth, visible=visible)


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_a_target_lost_for_good_is_missed_and_counted(toolkit):
    truth = 5 * [[1, 2, 10, 10]]
    nowhere = judged(toolkit, [truth[0], *(4 * [NONE])], truth)
    elsewhere = judged(toolkit, [truth[0], *(4 * [[80, 30, 5, 5]])], truth)
    assert nowhere["frames"] == (4 if toolkit == "got10k" else 5)
    assert nowhere["success"] == pytest.approx(
        {"got10k": 0, "trackingnet": 100 * (1 + 4 / 40) / 5}.get(toolkit, PERFECT / 5)
    )
    for name, value in elsewhere.items():
        assert value >= nowhere[name]


def test_got10k_cuts_boxes_at_the_border():
    """A corner beyond the border is moved inside and the width kept, as the toolkit has it."""
    truth = [[1, 1, 10, 10], [0, 0, 30, 10], [90, 0, 10, 10], [0, 40, 10, 10], [0, 0, 20, 10]]
    found = [[1, 1, 10, 10], [-10, 0, 30, 10], [90, 0, 37, 10], [0, 40, 10, 19], [-10, 0, 30, 10]]
    assert judged("got10k", found, truth)["success"] == pytest.approx(100 * (1 + 1 + 1 + 2 / 3) / 4)
    with pytest.raises(DataError, match=r"size of the images .* is not known"):
        evaluate("got10k", boxes(*found), boxes(*truth))


def test_trackingnet_rounds_to_whole_pixels():
    truth, found = 2 * [[10, 10, 20, 20]], 2 * [[10.4, 9.6, 20.3, 19.8]]
    assert judged("trackingnet", found, truth)["success"] == 100
    assert judged("otb", found, truth)["success"] < PERFECT


def test_truth_at_the_left_border_is_none_to_pytracking():
    truth = 4 * [[5, 5, 10, 10]]
    truth[3] = [0, 5, 10, 10]
    with_all = judged("pytracking", truth, truth)
    assert with_all["success"] == pytest.approx(PERFECT * 3 / 4)
    assert with_all["normalised_precision"] == 100
    assert judged("pytracking_valid", truth, truth)["normalised_precision"] == pytest.approx(
        400 / 3
    )


def test_a_set_is_the_mean_of_its_sequences_and_of_got10k_that_of_its_frames():
    results = [
        {"success": 30.0, "frames": 2},
        {"success": 60.0, "frames": 7},
        {"success": math.nan, "frames": 0},
    ]
    assert summary("otb", results) == {"success": 45.0, "frames": 9}
    assert summary("got10k", results)["success"] == pytest.approx((2 * 30 + 7 * 60) / 9)
    assert math.isnan(summary("otb", results[2:])["success"])


@pytest.mark.parametrize(
    ("toolkit", "found", "truth", "message"),
    [
        ("otb", 3 * [[1, 2, 3, 4]], 5 * [[1, 2, 3, 4]], "3 boxes found and 5 true ones"),
        ("otb", 2 * [[1, 2, 3, 4]], [NONE, [1, 2, 3, 4]], "no box in its first frame"),
        ("vot", [[1, 2, 3, 4]], [[1, 2, 3, 4]], r"no toolkit 'vot'; choose one of otb, got10k"),
    ],
)
def test_faults_are_named(toolkit, found, truth, message):
    with pytest.raises(DataError, match=message):
        judged(toolkit, found, truth)


def record(toolkit):
    """Two sequences of 3 and 5 frames; in the second the target is found in the first 2 only."""
    box, away = [10, 10, 20, 10], [70, 10, 20, 10]
    tracks = [
        Track("seen", boxes(*(3 * [box])), boxes(*(3 * [box])), image_size=SIZE),
        Track("lost", boxes(box, box, away, away, NONE), boxes(*(5 * [box])), image_size=SIZE),
    ]
    return json.loads(json.dumps(tracking_record(toolkit, tracks), allow_nan=False))


def test_a_record_has_curves_by_sequence_and_their_mean():
    found = record("otb")
    seen, lost = found["sequences"]["seen"], found["sequences"]["lost"]
    assert seen["success"] == 20 * [1.0] + [0.0]
    assert lost["success"] == 20 * [2 / 5] + [0.0]
    assert lost["precision"] == lost["normalised_precision"] == 51 * [2 / 5]
    assert found["mean"]["success"] == pytest.approx(20 * [7 / 10] + [0.0])
    assert found["mean"]["auc"] == pytest.approx(PERFECT * 7 / 10)
    assert (seen["auc"], lost["auc"]) == pytest.approx((PERFECT, PERFECT * 2 / 5))
    assert {name: len(values) for name, values in found["thresholds"].items()} == {
        "success": 21, "precision": 51, "normalised_precision": 51,
    }  # fmt: skip
    assert found["thresholds"]["precision"][20] == 20
    assert found["thresholds"]["normalised_precision"][20] == pytest.approx(0.2)


def test_the_mean_of_a_record_is_that_of_the_toolkit():
    """GOT-10k: 3 hits of the 6 frames after the first ones."""
    found = record("got10k")
    assert found["mean"]["auc"] == pytest.approx(50)
    assert found["mean"]["success"][:20] == pytest.approx(20 * [1 / 2])
    assert record("trackingnet")["mean"]["success"][20] == pytest.approx((1 + 2 / 5) / 2)


def test_a_record_of_sequences_without_a_frame_to_judge():
    """GOT-10k looks at no frame of a sequence of one."""
    track = Track("one", boxes([1, 2, 3, 4]), boxes([1, 2, 3, 4]), image_size=SIZE)
    found = tracking_record("got10k", [track])
    assert found["mean"]["auc"] is None
    assert found["sequences"]["one"]["precision"] == 51 * [None]
