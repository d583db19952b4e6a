"""The layouts of published sets, in miniature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lwdna
from lwdna.data.sequences import LAYOUTS, Sequence, SequenceLayout, open_sequences
from lwdna.errors import DataError

from .sets import BOXES, SIZE, colour, frames, otb, write

NUMBERED = [f"{number + 1:08}.jpg" for number in range(5)]


def names(found: list[Sequence]) -> list[str]:
    return [sequence.name for sequence in found]


def lasot(folder: Path) -> None:
    frames(folder / "img", NUMBERED)
    write(folder / "groundtruth.txt", BOXES)
    (folder / "full_occlusion.txt").write_text("0,1,0,0,0")
    (folder / "out_of_view.txt").write_text("0,0,0,1,0\n")


def test_otb_counts_second_targets_and_frames_without_truth(tmp_path: Path) -> None:
    """Diving has boxes for its first 215 frames, David from frame 300 to 770."""
    otb(tmp_path, "Walk")
    for name in ("groundtruth_rect.1.txt", "groundtruth_rect.2.txt", "groundtruth_rect_old.txt"):
        write(tmp_path / "Walk" / name, [f"{name[17]},1,5,5".replace("o", "9")] * 5)
    for name, count, first, last in (("Diving", 231, 1, 215), ("David", 771, 300, 770)):
        folder = tmp_path / name / "img"
        folder.mkdir(parents=True)
        for number in range(1, count + 1):
            (folder / f"{number:04}.jpg").touch()
        write(tmp_path / name / "groundtruth_rect.txt", ["1 2 3 4"] * (last - first + 1))
    found = open_sequences(tmp_path)
    assert names(found) == ["David", "Diving", "Walk", "Walk-1", "Walk-2"]
    assert [sequence.boxes[0, 0] for sequence in found] == [1, 1, 1, 1, 2]
    assert (len(found[0]), found[0].path(0).name, found[0].path(470).name) == (
        471, "0300.jpg", "0770.jpg",
    )  # fmt: skip
    assert (len(found[1]), found[1].path(0).name) == (215, "0001.jpg")


def test_lasot(tmp_path: Path) -> None:
    lasot(tmp_path / "cat" / "cat-20")
    lasot(tmp_path / "cat" / "cat-3")
    lasot(tmp_path / "bus" / "bus-1")
    found = open_sequences(tmp_path)
    assert names(found) == ["bus-1", "cat-3", "cat-20"]
    assert found[0].visible.tolist() == [True, False, True, False, True]
    assert not np.isnan(found[0].boxes).any()
    assert found[1].frame(2)[0, 0].tolist() == list(colour(2))
    assert names(open_sequences(tmp_path / "cat")) == ["cat-3", "cat-20"]
    assert names(open_sequences(tmp_path / "cat" / "cat-3")) == ["cat-3"]
    flags = tmp_path / "cat" / "cat-3" / "out_of_view.txt"
    flags.write_text("0,1,0,0")
    with pytest.raises(DataError, match=r"out_of_view\.txt has 4 numbers for 5 frames"):
        open_sequences(tmp_path)
    flags.write_text("0,1,0\n0,no")
    with pytest.raises(DataError, match=r"line 2 of .*out_of_view\.txt is '0 no'"):
        open_sequences(tmp_path)
    flags.unlink()
    assert open_sequences(tmp_path)[1].visible.tolist() == [True, False, True, True, True]


def got10k(root: Path, *listed: str) -> Path:
    for name in listed:
        frames(root / name, NUMBERED)
        write(root / name / "groundtruth.txt", BOXES)
        write(root / name / "absence.label", ["0", "1", "0", "0", "0"])
        write(root / name / "cover.label", ["8", "8", "0", "1", "7"])
    return root


def test_got10k(tmp_path: Path) -> None:
    got10k(tmp_path, "G_2", "G_1", "G_3")
    write(tmp_path / "list.txt", ["G_2", "G_1"])
    found = open_sequences(tmp_path)
    assert names(found) == ["G_2", "G_1"]
    assert found[0].visible.tolist() == [True, False, False, True, True]
    assert found[0].boxes[1].tolist() == [2, 3, 13, 11]
    assert found[0].frame(4)[0, 0].tolist() == list(colour(4))
    (tmp_path / "list.txt").unlink()
    assert names(open_sequences(tmp_path)) == ["G_1", "G_2", "G_3"]
    write(tmp_path / "list.txt", ["G_2", "G_9"])
    with pytest.raises(DataError, match=r"there is no folder .*G_9, which .*list\.txt names"):
        open_sequences(tmp_path)
    write(tmp_path / "list.txt", ["G_2", "G_2"])
    with pytest.raises(DataError, match="two sequences called G_2"):
        open_sequences(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc", "G_2/../../x", "C:x", "..\\x"])
def test_names_in_a_list_do_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    got10k(tmp_path, "G_2")
    write(tmp_path / "list.txt", ["G_2", name])
    with pytest.raises(DataError, match="may lie outside the data set"):
        open_sequences(tmp_path)


def test_of_a_test_half_only_the_first_box_is_known(tmp_path: Path) -> None:
    frames(tmp_path / "got" / "G_1", NUMBERED)
    write(tmp_path / "got" / "G_1" / "groundtruth.txt", BOXES[:1])
    frames(tmp_path / "net" / "TEST" / "frames" / "v", NUMBERED)
    write(tmp_path / "net" / "TEST" / "anno" / "v.txt", BOXES[:1])
    for root in ("got", "net"):
        (sequence,) = open_sequences(tmp_path / root)
        assert sequence.boxes[0].tolist() == [1, 2, 13, 11]
        assert np.isnan(sequence.boxes[1:]).all()
        assert sequence.visible.tolist() == [True, False, False, False, False]


def test_trackingnet(tmp_path: Path) -> None:
    for part, video in (("TRAIN_0", "x"), ("TRAIN_0", "-b"), ("TRAIN_1", "x"), ("TRAIN_11", "y")):
        frames(tmp_path / part / "frames" / video, [f"{number}.jpg" for number in range(5)])
        write(tmp_path / part / "anno" / f"{video}.txt", BOXES)
    found = open_sequences(tmp_path)
    assert names(found) == ["TRAIN_0/-b", "TRAIN_0/x", "TRAIN_1/x", "TRAIN_11/y"]
    assert found[2].path(4) == tmp_path / "TRAIN_1" / "frames" / "x" / "4.jpg"
    chosen = open_sequences(tmp_path, names=["TRAIN_[0-3]/*"], exclude=["*/-b"])
    assert names(chosen) == ["TRAIN_0/x", "TRAIN_1/x"]
    assert names(open_sequences(tmp_path / "TRAIN_0")) == ["-b", "x"]
    write(tmp_path / "TRAIN_1" / "anno" / "lost.txt", BOXES)
    with pytest.raises(DataError, match=r"there is no folder .*frames/lost"):
        open_sequences(tmp_path)


def coco(root: Path, **changes: Any) -> Path:
    frames(root / "val2017", ["000007.jpg", "000011.jpg"])
    content = {
        "categories": [{"id": 3, "name": "dog"}, {"id": 5, "name": "traffic light"}],
        "images": [{"id": 7, "file_name": "000007.jpg"}, {"id": 11, "file_name": "000011.jpg"}],
        "annotations": [
            {"id": 101, "image_id": 11, "category_id": 5, "bbox": [1.5, 2, 11, 13], "iscrowd": 0},
            {"id": 102, "image_id": 11, "category_id": 3, "bbox": [1, 2, 30, 20], "iscrowd": 1},
            {"id": 103, "image_id": 7, "category_id": 3, "bbox": [1, 2, 30, 9.5], "iscrowd": 0},
            {"id": 104, "image_id": 7, "category_id": 3, "bbox": [0, 0, 10, 10]},
        ],
        **changes,
    }
    write(root / "annotations" / "instances_val2017.json", [json.dumps(content)])
    return root


def test_coco_objects_are_still_sequences(tmp_path: Path) -> None:
    """Without a crowd and without one of 9.5 pixels."""
    found = open_sequences(coco(tmp_path))
    assert names(found) == ["val2017/traffic light/000011-101", "val2017/dog/000007-104"]
    assert all(sequence.still and len(sequence) == 1 for sequence in found)
    assert found[0].boxes.tolist() == [[1.5, 2, 11, 13]]
    assert found[0].visible.tolist() == [True]
    assert found[0].size == SIZE
    assert found[0].frame(0)[0, 0].tolist() == list(colour(1))
    assert names(open_sequences(tmp_path, names=["*/dog/*"])) == ["val2017/dog/000007-104"]
    (tmp_path / "val2017").rename(tmp_path / "other")
    with pytest.raises(DataError, match="no folder of images"):
        open_sequences(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "other").rename(tmp_path / "images" / "val2017")
    assert open_sequences(tmp_path)[0].frame(0)[0, 0].tolist() == list(colour(1))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": [{"id": 7, "file_name": "../7.jpg"}]}, "may lie outside"),
        ({"images": [{"id": 7}]}, "'file_name' is missing"),
        ({"images": None}, "its categories, images or annotations"),
        ({"categories": [{"id": [3], "name": "dog"}]}, "its categories, images or annotations"),
        ({"annotations": [{"id": 1, "image_id": 7, "category_id": 3}]}, "annotation 0 .*'bbox'"),
        (
            {"annotations": [{"id": 1, "image_id": 8, "category_id": 3, "bbox": [1, 2, 30, 40]}]},
            "annotation 0 .*8 is missing",
        ),
        (
            {"annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 30]}]},
            "annotation 0 cannot be read",
        ),
        (
            {"annotations": [{"id": 1, "bbox": [1, 2, float("nan"), 40]}]},
            "annotation 0 cannot be read",
        ),
        ({"annotations": 3}, "its categories, images or annotations"),
        ({"annotations": [7]}, "annotation 0 cannot be read"),
    ],
)
def test_a_malformed_listing_of_coco(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        open_sequences(coco(tmp_path, **changes))


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000])
def test_a_listing_that_is_no_listing(tmp_path: Path, content: str) -> None:
    coco(tmp_path)
    (tmp_path / "annotations" / "instances_val2017.json").write_text(content)
    with pytest.raises(DataError, match="is no listing of COCO"):
        open_sequences(tmp_path)


def test_two_layouts_in_one_folder(tmp_path: Path) -> None:
    otb(tmp_path, "car")
    got10k(tmp_path, "G_1")
    with pytest.raises(DataError, match=r"several layouts \(got10k, otb\); say which"):
        open_sequences(tmp_path)
    assert names(open_sequences(tmp_path, layout="otb")) == ["car"]
    assert names(open_sequences(tmp_path, layout="got10k")) == ["G_1"]


def test_a_layout_of_ones_own_enters_by_the_public_decorator(tmp_path: Path) -> None:
    class Moved(SequenceLayout):
        """OTB with its sequences in a folder below."""

        layout = "a folder called moved"

        def detect(self, root: Path) -> bool:
            return (root / "moved").is_dir()

        def find(self, root: Path) -> Any:
            return LAYOUTS["otb"].find(root / "moved")

    otb(tmp_path / "moved", "Walk")
    lwdna.register_layout("moved")(Moved)
    try:
        (walk,) = open_sequences(tmp_path)
        assert (walk.name, len(walk.boxes)) == ("Walk", 5)
    finally:
        LAYOUTS._entries.pop("moved")
    with pytest.raises(DataError):
        open_sequences(tmp_path)
