"""Boxes on frames, strips of frames, and the files that a report shows."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from lwdna.tasks.tracking.metrics import Track
from lwdna.tasks.tracking.pictures import (
    COLOURS,
    draw_boxes,
    shown_frames,
    strip,
    write_strips,
    write_tracking,
)

GREY = np.full((97, 131, 3), 90, dtype=np.uint8)
BOX = np.array([40.0, 30.0, 50.0, 20.0])


def painted(image, colour):
    """Return the pixels of a colour, shape (H, W)."""
    return (image == np.array(COLOURS[colour], dtype=np.uint8)).all(axis=2)


def test_a_box_is_drawn_around_its_pixels():
    before = GREY.copy()
    drawn = draw_boxes(GREY, {"truth": BOX})
    assert (before == GREY).all()
    assert drawn.shape == GREY.shape
    line = painted(drawn, 0)
    assert line[28:52, [38, 39, 90, 91]].all()  # left and right of columns 40 to 89
    assert line[[28, 29, 50, 51], 60:92].all()
    assert (drawn[30:50, 40:90] == 90).all()  # nothing hides the target
    assert (drawn[27, 60:92] == 0).all()  # a dark rim on light ground


def test_boxes_have_colours_and_places_for_their_labels_by_their_order():
    """Four equal boxes: labels above and below, from the left and from the right corner."""
    ground = np.full((300, 400, 3), 90, dtype=np.uint8)
    box = np.array([150.0, 120.0, 100.0, 60.0])
    drawn = draw_boxes(ground, dict.fromkeys("abcd", box))
    for place, (rows, columns) in enumerate(
        [(slice(0, 114), slice(150, 190)), (slice(186, 300), slice(150, 190)),
         (slice(0, 114), slice(210, 250)), (slice(186, 300), slice(210, 250))]
    ):  # fmt: skip
        label = painted(drawn, place)
        assert label[rows, columns].sum() > 40
        others = label.copy()
        others[rows, columns] = False
        others[114:186] = False
        assert not others.any()


@pytest.mark.parametrize(
    "box", [None, np.array([math.nan, 3, 5, 7]), np.array([3, 5, math.inf, 7])]
)
def test_no_box_leaves_the_frame_as_it_is(box):
    assert (draw_boxes(GREY, {"truth": box}) == GREY).all()


def test_the_label_of_a_box_outside_is_still_seen():
    for corner in ([-500, -500], [1e9, 1e9], [-1e300, 40]):
        drawn = draw_boxes(GREY, {"network": np.array([*corner, 30.0, 20.0])})
        assert painted(drawn, 0).any()


def test_labels_can_be_told_apart_by_who_sees_no_red_or_no_green():
    """Viénot et al. 1999: linear RGB as protanopes and deuteranopes see it."""
    linear = (np.array(COLOURS[:4]) / 255) ** 2.2
    for red, green in ((0.11238, 0.88762), (0.29275, 0.70725)):
        yellow = red * linear[:, 0] + green * linear[:, 1]
        seen = np.stack([yellow, linear[:, 2]], axis=1) ** (1 / 2.2)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=2)
        assert apart[np.triu_indices(4, 1)].min() > 0.15


def test_frames_stand_row_after_row():
    frames = [np.full((10, 20, 3), 50 * k, dtype=np.uint8) for k in range(1, 4)]
    sheet = strip(frames, 2)
    assert sheet.shape == (24, 44, 3)
    assert (sheet[:10, :20] == 50).all()
    assert (sheet[:10, 24:] == 100).all()
    assert (sheet[14:, :20] == 150).all()
    assert (sheet[14:, 24:] == 255).all()
    assert strip(frames[:1], 5).shape == (10, 20, 3)


def test_frames_come_to_the_width_of_the_first_and_have_captions():
    frames = [np.full((10, 20, 3), 7, dtype=np.uint8), np.full((40, 40, 3), 7, dtype=np.uint8)]
    sheet = strip(frames, 2, ["one", "two"])
    assert sheet.shape == (20 + 16, 44, 3)
    assert (sheet[:20, 24:] == 7).all()
    assert sheet[10:26, :20].min() < 200
    assert sheet[20:36, 24:].min() < 200


@pytest.mark.parametrize(
    ("count", "numbers"), [(1, [0]), (2, [0, 1]), (5, [1, 2, 3, 4]), (101, [25, 50, 75, 100])]
)
def test_frames_that_stand_for_a_sequence(count, numbers):
    assert shown_frames(count) == numbers


def test_what_a_report_shows_of_a_sequence(tmp_path):
    truth = np.repeat(BOX[None], 9, axis=0)
    track = Track("class/one", truth + np.array([5, 4, 0, 0]), truth)
    asked = []

    def frame(number):
        asked.append(number)
        return GREY

    write_strips(tmp_path, track, frame)
    assert sorted(asked) == [0, 2, 4, 6, 8]
    shown = {}
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            shown[path.name] = np.asarray(image)
    # 256 pixels wide, 190 high, 16 below for the caption
    assert {name: image.shape for name, image in shown.items()} == {
        "class-one-input.png": (206, 256, 3),
        "class-one-target.png": (206, 4 * 260 - 4, 3),
        "class-one-output.png": (206, 4 * 260 - 4, 3),
    }
    for name, (truth_there, found_there) in {
        "input": (True, False), "target": (True, False), "output": (True, True),
    }.items():  # fmt: skip
        image = shown[f"class-one-{name}.png"]
        assert painted(image, 0).any() == truth_there
        assert painted(image, 1).any() == found_there


def test_the_record_lies_beside_the_pictures(tmp_path):
    truth = np.repeat(BOX[None], 3, axis=0)
    write_tracking(tmp_path, "otb", [Track("one", truth, truth)])
    told = json.loads((tmp_path / "tracking.json").read_text())
    assert told["toolkit"] == "otb"
    assert told["sequences"]["one"]["success"] == 20 * [1.0] + [0.0]
