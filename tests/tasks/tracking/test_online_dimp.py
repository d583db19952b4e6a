"""The tracker of DiMP follows what its network sees, and says so where it sees nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lwdna.errors import DataError, LwdnaError, ModelError, TrainingError
from lwdna.models import create_model
from lwdna.tasks.tracking.metrics import overlaps
from lwdna.tasks.tracking.online import OnlineSettings, follow
from lwdna.tasks.tracking.online.dimp import DimpTracker
from lwdna.tasks.tracking.settings import TrackingSettings
from tasks.tracking.red import RedNetwork, scene

SMALL = TrackingSettings(image_size=128)
RED = 255


def tracker(settings=SMALL, *, iou_head=False, seed=0):
    return DimpTracker(RedNetwork(iou_head).eval(), settings, seed=seed)


def moving(frames, growth=0.0):
    """Return frames in which a red patch goes right and down and grows, and its boxes."""
    boxes = [
        (20 + 3 * n, 30 + n, round(23 + growth * n), round(19 + growth * n)) for n in range(frames)
    ]
    return [scene((*box, RED)) for box in boxes], np.array(boxes, np.float64)


def test_without_a_head_the_box_moves_and_keeps_its_size():
    frames, boxes = moving(30)
    track = follow(tracker(), frames, boxes[0])
    assert set(track.states) == {"normal"}
    assert track.boxes[0].tolist() == boxes[0].tolist()
    assert np.array_equal(track.boxes[:, 2:], boxes[:, 2:])
    cell = 5 * np.sqrt(23 * 19) / 128 * 8
    assert np.abs(track.boxes - boxes).max() < cell
    assert track.scores[0] == 1
    assert track.seconds.shape == (30,)
    assert track.frames_per_second > 0


def test_with_a_head_the_box_follows_size_and_place():
    frames, boxes = moving(30, growth=0.9)
    assert boxes[-1, 2] > 2 * boxes[0, 2]
    track = follow(tracker(iou_head=True), frames, boxes[0])
    assert overlaps(track.boxes, boxes).min() > 0.75


@pytest.mark.parametrize("border", ["inside", "inside_major"])
def test_windows_may_stay_inside_the_frame_and_refinement_may_be_relative(border):
    online = OnlineSettings.model_validate(
        {"boxes": {"space": "relative", "steps": 10, "step": 0.01}}
    )
    settings = TrackingSettings(image_size=128, area=6, border=border, online=online)
    frames, boxes = moving(20, growth=0.5)
    track = follow(tracker(settings, iou_head=True), frames, boxes[0])
    assert overlaps(track.boxes, boxes).min() > 0.7


def test_the_same_seed_gives_the_same_boxes_and_another_seed_others():
    frames, boxes = moving(6)
    first, again, other = (
        follow(tracker(iou_head=True, seed=seed), frames, boxes[0]).boxes for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first[1:], other[1:])


def test_a_tracker_that_starts_again_forgets():
    frames, boxes = moving(6)
    one = tracker(iou_head=True)
    follow(one, frames[::-1], boxes[-1])
    again = follow(one, frames, boxes[0])
    assert np.array_equal(again.boxes, follow(tracker(iou_head=True), frames, boxes[0]).boxes)


def test_the_draws_of_a_frame_do_not_depend_on_earlier_ones():
    frames, boxes = moving(5)
    fewer = OnlineSettings.model_validate({"start": {"blurs": [], "dropouts": 0}})
    found = [
        follow(tracker(settings, iou_head=True), frames, boxes[0]).boxes
        for settings in (SMALL, SMALL.model_copy(update={"online": fewer}))
    ]
    assert np.array_equal(*found)


def test_a_lost_target_keeps_its_box_until_it_is_seen_again():
    frames, boxes = moving(4)
    nothing = scene()
    track = follow(tracker(), [*frames, *[nothing] * 70, frames[3]], boxes[0])
    assert track.states[4:74] == ("not_found",) * 70
    assert np.array_equal(track.boxes[4:74], np.tile(track.boxes[3], (70, 1)))
    assert track.scores[4:74].max() < 0.25 < track.scores[3]
    assert track.states[74] == "normal"


def test_the_filter_is_improved_at_the_start_on_every_20th_frame_and_beside_distractors():
    here, there = (60, 50, 20, 20, RED), (105, 50, 20, 20, 160)
    frames = [scene(here)] * 21 + [scene(here, there)] * 2 + [scene(here)] * 18
    one = tracker()
    track = follow(one, frames, here[:4])
    assert [n for n, state in enumerate(track.states) if state == "hard_negative"] == [21, 22]
    assert one._network.classifier.calls == [
        (15, 10),  # the first frame
        (35, 2),  # frame 20
        (36, 1),  # frames 21 and 22
        (37, 1),
        (50, 2),  # frame 40: no more fit in
    ]
    assert np.abs(track.boxes - track.boxes[0]).max() < 8
    weights = one._network.classifier.seen[3][1]
    assert (weights[34] / weights[33]).item() == pytest.approx(1 / 0.99)
    assert (weights[36] / weights[35]).item() == pytest.approx(1 / 0.98)


def test_two_samples_of_the_first_frame_miss_channels():
    frames, boxes = moving(1)
    found = set()
    for seed in range(9):
        one = tracker(seed=seed)
        follow(one, frames, boxes[0])
        features, weights = one._network.classifier.seen[0]
        assert weights.tolist() == pytest.approx([1 / 15] * 15)
        for sample in features[13:]:
            factor = (sample.sum() / features[0].sum()).item()
            torch.testing.assert_close(sample, features[0] * factor)
            found.add(round(factor, 4))
    assert found == {0, 1.25}


def test_of_two_like_targets_the_near_one_is_taken_and_twins_are_uncertain():
    here, near, far = (60, 50, 20, 20, 230), (60, 80, 20, 20, RED), (112, 96, 20, 20, RED)
    scenes = [scene(here), scene(here, far), scene(here, near), scene(here, far)]
    one = tracker()
    track = follow(one, scenes, here[:4])
    assert track.states[:3] == ("normal", "hard_negative", "uncertain")
    assert abs(track.boxes[1, :2] - here[:2]).max() < 4
    # nothing is learnt from the third frame: the fourth one is the second that is added
    assert one._network.classifier.calls == [(15, 10), (16, 1), (17, 1)]


def test_the_box_stays_in_the_frame_and_does_not_shrink_away():
    frames = [scene((x, 60, 20, 16, RED)) for x in range(120, 160, 4)]
    track = follow(tracker(iou_head=True), frames, (120, 60, 20, 16))
    centres = track.boxes[:, :2] + track.boxes[:, 2:] / 2
    assert (centres >= 0).all()
    assert (centres <= (160, 120)).all()
    small = [scene((60, 60, 6, 6, RED))] + [scene((60, 60, 3, 3, RED))] * 30
    assert follow(tracker(iou_head=True), small, (60, 60, 6, 6)).boxes[:, 2:].min() >= 4


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((30, 40, 0, 20), "width 0.*more than 0"),
        ((30, 40, 10, -3), "height -3.*more than 0"),
        ((160, 40, 10, 10), "outside of the frame of 160 x 120"),
        ((30, -11, 10, 11), "outside of the frame"),
        ((30, float("nan"), 10, 10), "finite"),
        ((30, 40, float("inf"), 10), "finite"),
        ((30, 40, 10), "four numbers"),
        (None, "four numbers"),
    ],
)
def test_a_first_box_that_is_none_is_refused_in_one_line(box, says):
    with pytest.raises(DataError, match=says) as error:
        follow(tracker(), [scene()], box)
    assert "\n" not in str(error.value)


def test_a_first_box_may_reach_beyond_the_frame():
    patch = (0, 50, 11, 20, RED)
    track = follow(tracker(), [scene(patch)] * 3, (-9, 50, 20, 20))
    assert "not_found" not in track.states
    assert track.boxes[2] == pytest.approx((-9, 50, 20, 20), abs=8)


def test_no_frames_are_an_error():
    with pytest.raises(DataError, match="no frames"):
        follow(tracker(), [], (1, 2, 3, 4))


@pytest.mark.parametrize("broken", [0, 3])
def test_scores_that_are_not_finite_are_an_error_that_names_the_frame(broken):
    frames, boxes = moving(6)
    one = tracker()

    def until():
        for number, frame in enumerate(frames):
            if number == broken:
                with torch.no_grad():
                    one._network.gain.fill_(float("nan"))
            yield frame

    # a filter that is all ones is finite, whatever the features; the first scores are not
    with pytest.raises(TrainingError, match=f"scores are not finite in frame {max(broken, 1)} "):
        follow(one, until(), boxes[0])


def test_a_filter_and_boxes_that_are_not_finite_are_errors():
    frames, boxes = moving(3)
    one, other = tracker(), tracker(iou_head=True)
    one._network.classifier.initial_filter = lambda *_: torch.full((1, 1, 4, 4), torch.nan)
    with pytest.raises(TrainingError, match="filter is not finite in frame 0 "):
        follow(one, frames, boxes[0])
    real = other._network.iou.predict
    other._network.iou.predict = lambda *given: real(*given) * torch.nan
    with pytest.raises(TrainingError, match="boxes are not finite in frame 1 "):
        follow(other, frames, boxes[0])


def test_another_network_is_refused():
    with pytest.raises(ModelError, match="Conv2d"):
        DimpTracker(torch.nn.Conv2d(3, 3, 3), SMALL)
    assert issubclass(ModelError, LwdnaError)


@pytest.mark.parametrize("iou_head", [True, False])
def test_a_real_network_tracks_alike_twice_and_is_left_as_it_was(iou_head):
    torch.manual_seed(5)
    network = create_model("lwdna:dimp_tiny", iou_head=iou_head).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    # scores of an untrained network are low; everything counts as found here
    online = OnlineSettings.model_validate(
        {"localisation": {"not_found": 0}, "memory": {"interval": 3, "size": 20}}
    )
    settings = TrackingSettings(image_size=96, online=online)
    frames, boxes = moving(12)
    one, again = (
        follow(DimpTracker(network, settings, seed=7), frames, boxes[0]) for _ in range(2)
    )
    assert np.isfinite(one.boxes).all()
    assert (one.boxes[:, 2:] > 0).all()
    assert np.array_equal(one.boxes, again.boxes)
    assert one.states == again.states
    assert "normal" in one.states or "hard_negative" in one.states
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(weight.grad is None for weight in network.parameters())
