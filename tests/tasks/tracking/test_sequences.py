"""Sequences of frames: truth and frames as read, faults named, the fingerprint."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from lwdna.data.sequences import FrameMemory, open_sequences, photo_sequences, stored_sequences
from lwdna.engine.fingerprint import half_print
from lwdna.errors import DataError

from .sets import BOXES, SIZE, colour, frames, otb, write


def test_truth_and_frames_of_a_folder(tmp_path: Path) -> None:
    otb(tmp_path, "b", "a10", "a2")
    found = open_sequences(tmp_path)
    assert [sequence.name for sequence in found] == ["a2", "a10", "b"]
    first = found[0]
    assert len(first) == 5
    assert first.size == SIZE
    assert not first.still
    assert first.boxes.dtype == np.float64
    assert first.boxes[[0, 1, 3]].tolist() == [[1, 2, 13, 11], [2, 3, 13, 11], [4, 5, 17.5, 7.25]]
    assert first.visible.tolist() == [True] * 5
    assert first.path(3) == tmp_path / "a2" / "img" / "0004.jpg"
    assert first.frame(3).shape == (SIZE[1], SIZE[0], 3)
    assert first.frame(3)[0, 0].tolist() == list(colour(3))


def test_a_folder_may_be_one_sequence(tmp_path: Path) -> None:
    otb(tmp_path, "car")
    assert [sequence.name for sequence in open_sequences(tmp_path / "car")] == ["car"]


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    frames(
        tmp_path / "s" / "img", ["img2.png", "img9.png", "img10.png", "img100.png", "img0101.png"]
    )
    (tmp_path / "s" / "img" / "._img2.png").write_bytes(b"hidden")
    (tmp_path / "s" / "img" / "notes.txt").write_text("none")
    write(tmp_path / "s" / "groundtruth_rect.txt", BOXES)
    shutil.copytree(tmp_path / "s", tmp_path / ".hidden")
    (sequence,) = open_sequences(tmp_path)
    assert [sequence.frame(i)[0, 0, 0] for i in range(5)] == [0, 10, 20, 30, 40]


def test_patterns_choose_and_exclude(tmp_path: Path) -> None:
    otb(tmp_path, "car1", "car2", "dog")
    chosen = open_sequences(tmp_path, names=["car*", "dog"], exclude=["*1"])
    assert [sequence.name for sequence in chosen] == ["car2", "dog"]
    with pytest.raises(DataError, match=r"is called carr1; did you mean car1"):
        open_sequences(tmp_path, names=["carr1"])
    with pytest.raises(DataError, match=r"is called bus\*; there are car1, car2, dog"):
        open_sequences(tmp_path, exclude=["bus*"])
    with pytest.raises(DataError, match="are excluded"):
        open_sequences(tmp_path, exclude=["*"])


def test_gaps_in_the_truth(tmp_path: Path) -> None:
    lines = ("NaN,NaN,NaN,NaN", "2,3,0,0", "3,4,5,-1", "4,5,6,nan", "5,6,7,8", "", " ")
    (sequence,) = open_sequences(otb(tmp_path, "gaps", lines=lines))
    assert np.isnan(sequence.boxes[:4]).all()
    assert sequence.boxes[4].tolist() == [5, 6, 7, 8]
    assert sequence.visible.tolist() == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2,3", "'1 2 3'"),
        ("7", "'7'"),
        ("1,2,3,4,5,6,7,8", "expected four numbers"),
        ("1,2,x,4", "'1 2 x 4'"),
        ("", "''"),
        ("1,2,inf,4", "inf"),
        ("1,2,3,123456", "up to 100000"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    lines = [*BOXES[:2], line, *BOXES[3:]]
    with pytest.raises(DataError, match=r"line 3 of .*groundtruth_rect\.txt") as raised:
        open_sequences(otb(tmp_path, "bad", lines=lines))
    assert said in str(raised.value)


def test_what_does_not_fit_together(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*nope"):
        open_sequences(tmp_path / "nope")
    with pytest.raises(DataError, match=r"holds no sequences .*/groundtruth_rect\.txt"):
        open_sequences(tmp_path)
    with pytest.raises(ValueError, match="did you mean otb"):
        open_sequences(tmp_path, layout="otbb")
    with pytest.raises(DataError, match="has no sequences in the layout otb"):
        open_sequences(tmp_path, layout="otb")

    otb(tmp_path / "fewer", "car", lines=BOXES[:4])
    with pytest.raises(DataError, match=r"sequence car has 5 frames and 4 boxes"):
        open_sequences(tmp_path / "fewer")
    otb(tmp_path / "unknown", "car", lines=["nan nan nan nan"] * 5)
    with pytest.raises(DataError, match=r"sequence car has no box in any frame"):
        open_sequences(tmp_path / "unknown")
    otb(tmp_path / "empty", "car")
    (tmp_path / "empty" / "car" / "groundtruth_rect.txt").write_text("\n")
    with pytest.raises(DataError, match=r"groundtruth_rect\.txt is empty"):
        open_sequences(tmp_path / "empty")
    (tmp_path / "empty" / "car" / "groundtruth_rect.txt").write_bytes(b"\xff\xfe1")
    with pytest.raises(DataError, match="no text in UTF-8"):
        open_sequences(tmp_path / "empty")
    otb(tmp_path / "blind", "car")
    for path in (tmp_path / "blind" / "car" / "img").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"img has no frames"):
        open_sequences(tmp_path / "blind")


def test_a_damaged_frame_is_named_with_its_sequence(tmp_path: Path) -> None:
    otb(tmp_path, "car")
    path = tmp_path / "car" / "img" / "0003.jpg"
    path.write_bytes(path.read_bytes()[:60])
    (sequence,) = open_sequences(tmp_path)
    assert sequence.frame(1)[0, 0].tolist() == list(colour(1))
    with pytest.raises(DataError, match=r"frame 3 of 5 of the sequence car: .*0003\.jpg"):
        sequence.frame(2)
    path.unlink()
    with pytest.raises(DataError, match=r"frame 3 of 5 of the sequence car: cannot read"):
        sequence.frame(2)


def test_frames_in_use_stay_in_memory_up_to_a_limit(tmp_path: Path) -> None:
    """Room for two: the one unused for longest is read again, and then its file is missed."""
    otb(tmp_path, "car")
    memory = FrameMemory(max_bytes=2 * 3 * SIZE[0] * SIZE[1])
    (sequence,) = open_sequences(tmp_path, memory=memory)
    for number in (0, 1, 0, 2):
        sequence.frame(number)
    shutil.rmtree(tmp_path / "car" / "img")
    assert sequence.frame(0)[0, 0].tolist() == list(colour(0))
    assert sequence.frame(2)[0, 0].tolist() == list(colour(2))
    with pytest.raises(DataError, match="frame 2 of 5"):
        sequence.frame(1)
    with pytest.raises(ValueError, match="read-only"):
        sequence.frame(0)[0, 0] = 1


def test_the_fingerprint_changes_with_truth_frames_and_names_only(tmp_path: Path) -> None:
    def prints(root: Path) -> object:
        return half_print(stored_sequences(open_sequences(root)))

    otb(tmp_path / "set", "car", "dog")
    before = prints(tmp_path / "set")
    shutil.copytree(tmp_path / "set", tmp_path / "moved")
    assert prints(tmp_path / "moved") == before
    truth = tmp_path / "moved" / "dog" / "groundtruth_rect.txt"
    truth.write_text(truth.read_text().replace("17.5", "17.25"))
    assert prints(tmp_path / "moved") != before
    shutil.copytree(tmp_path / "set", tmp_path / "painted")
    shutil.copy(
        tmp_path / "painted" / "car" / "img" / "0001.jpg",
        tmp_path / "painted" / "car" / "img" / "0005.jpg",
    )
    assert prints(tmp_path / "painted") != before
    shutil.move(tmp_path / "set" / "dog", tmp_path / "set" / "fox")
    assert prints(tmp_path / "set") != before


def test_photos_move_smoothly_and_their_boxes_hold_the_patch() -> None:
    """Outside the boxes, two frames of a sequence differ nowhere; inside, they nearly all do."""
    first, second = photo_sequences(2, 40, seed=3, size=(96, 72))
    assert (len(first), first.size, second.size) == (40, (96, 72), (96, 72))
    for sequence in (first, second):
        boxes = sequence.boxes
        assert sequence.visible.all()
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, :2] + boxes[:, 2:] <= (96, 72)).all()
        assert 1.1 < boxes[:, 2].max() / boxes[:, 2].min() < math.exp(0.6) * 1.2
        # 2 pi 0.02 of half the way, and half of what a side grows by, and rounding
        assert np.abs(np.diff(boxes[:, :2], axis=0)).max() < 0.0628 * 96 + 3
        assert np.ptp(boxes[:, :2], axis=0).max() > 10
        one, other = sequence.frame(0).astype(int), sequence.frame(39).astype(int)
        changed = (one != other).any(axis=2)
        within = np.zeros_like(changed)
        for x, y, width, height in boxes[[0, 39]].astype(int):
            within[y : y + height, x : x + width] = True
        assert not changed[~within].any()
        assert changed[within].mean() > 0.8


def test_photos_follow_from_seed_and_number() -> None:
    both = photo_sequences(2, 5, seed=7)
    (again,) = photo_sequences(1, 5, seed=7)
    (other,) = photo_sequences(1, 5, seed=8)
    assert np.array_equal(both[0].boxes, again.boxes)
    assert np.array_equal(both[0].frame(4), again.frame(4))
    assert not np.array_equal(both[0].boxes, other.boxes)
    assert half_print(stored_sequences(both)) != half_print(stored_sequences([again, other]))
    with pytest.raises(ValueError, match="no sequences"):
        photo_sequences(0, 5, seed=7)


def test_real_sequences(shared_data: Path) -> None:
    """Two targets of the same frames are two sequences; grey frames come in colour."""
    root = shared_data / "tracking"
    if not root.is_dir():
        pytest.skip(f"no sequences at {root} (set LWDNA_DATA)")
    found = {sequence.name: sequence for sequence in open_sequences(root)}
    assert len(found) == 11
    assert sum(map(len, found.values())) == 1074
    assert found["Jogging-2"].boxes[0].tolist() == [180, 79, 37, 114]
    assert found["Jogging-2"].path(0) == found["Jogging"].path(0)
    assert found["Car"].frame(0).shape == (240, 320, 3)
    assert found["Mohiniyattam"].size == (1280, 676)
