"""Targets are followed through videos, folders of images and sequences."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lwdna.architecture import Architecture, load, save
from lwdna.data.sequences import photo_sequences
from lwdna.data.sequences.video import Video, video_writer
from lwdna.model_source import ModelSource
from lwdna.recipe import load_recipe
from lwdna.tasks.tracking.kinds.kind import TRACKERS
from lwdna.tasks.tracking.metrics import evaluate
from lwdna.tasks.tracking.online.tracker import Found, follow
from lwdna.workflows import track

from .command import at_call, done, fault, lwdna

pytest.importorskip("av")

COUNT = 9
SIZE = (96, 72)
CROP = 64
RECIPE = f"""
task: tracking
model: {{name: dimp_tiny, args: {{iou_head: false}}}}
data:
  kind: photos
  photo_sequences: 2
  photo_frames: 6
  image_size: {CROP}
  proposals: 0
  online: {{start: {{blurs: [], rotations: []}}}}
"""


@dataclass(frozen=True)
class Given:
    """What is tracked in these tests, and with what; tests must not change it."""

    frames: list[np.ndarray]
    boxes: np.ndarray
    sequence: Path
    """In OTB's layout."""
    weights: Path
    run: Path
    """The same network as a training run leaves it, with a recipe."""

    @property
    def box(self) -> str:
        return ",".join(f"{value:g}" for value in self.boxes[0])


def write_sequence(folder: Path, frames: list[np.ndarray], boxes: np.ndarray) -> Path:
    (folder / "img").mkdir(parents=True)
    for number, frame in enumerate(frames, 1):  # lossless, and in natural order only
        Image.fromarray(frame).save(folder / "img" / f"{number}.png")
    lines = [",".join(f"{value:g}" for value in box) for box in boxes]
    (folder / "groundtruth_rect.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("given")
    (made,) = photo_sequences(1, COUNT + 3, 5, SIZE)
    frames = [np.array(made.frame(number)) for number in range(len(made))]
    source = ModelSource(name="lwdna:dimp_tiny", args={"iou_head": False})
    crops = (2, 3, CROP, CROP)
    size = {"train_images": crops, "train_boxes": (2, 4), "test_images": crops}
    architecture = Architecture.of_baseline(source, size)
    run = folder / "run"
    run.mkdir()
    save(architecture.build(seed=0), architecture, run / "model.safetensors")
    save(architecture.build(seed=0), architecture, folder / "alone" / "net.safetensors")
    (run / "recipe.yaml").write_text(RECIPE)
    sequence = write_sequence(folder / "Swing", frames, made.boxes)
    return Given(frames, made.boxes, sequence, folder / "alone" / "net.safetensors", run)


def rows(folder: str | Path) -> np.ndarray:
    return np.loadtxt(Path(folder) / "boxes.txt", delimiter=",", ndmin=2)


def record(folder: str | Path) -> dict:
    return json.loads((Path(folder) / "boxes.json").read_text())


def test_a_sequence_is_tracked_from_its_first_true_box(given: Given) -> None:
    said = done("track", given.sequence, "--weights", given.run, "--out", "out")
    found = record("out")
    settings = load_recipe(given.run / "recipe.yaml").data
    network, _ = load(given.run / "model.safetensors")
    tracker = TRACKERS["dimp"](settings).tracker(network.eval(), 0)
    expected = follow(tracker, given.frames, given.boxes[0])
    np.testing.assert_array_equal(found["boxes"], expected.boxes)
    np.testing.assert_array_equal(found["scores"], expected.scores)
    assert tuple(found["states"]) == expected.states
    np.testing.assert_allclose(rows("out"), expected.boxes, atol=5.1e-4)
    auc = evaluate("otb", expected.boxes, given.boxes)["success"]
    assert f"success AUC: {auc:.2f} %" in said
    assert "boxes: out/boxes.txt" in said
    assert "video: out/track.mp4" in said
    assert (found["frames"], found["complete"], found["size"]) == (12, True, list(SIZE))
    assert (found["seed"], found["frame_rate"], found["lost_from"]) == (0, None, None)
    assert found["settings"]["image_size"] == CROP
    assert found["frames_per_second"] > 0
    assert {"lwdna", "torch"} <= set(found["versions"])
    assert {path.name for path in Path("out").iterdir()} == {"boxes.txt", "boxes.json", "track.mp4"}


def test_the_video_shows_every_frame_with_its_box(given: Given) -> None:
    """Without truth, so that what is drawn is what was found."""
    images = given.sequence / "img"
    done("track", images, "--box", given.box, "--weights", given.run, "--out", "out")
    video, found = Video("out/track.mp4"), record("out")
    assert (video.count, video.rate) == (12, 25)
    shown = []
    for frame, plain, box in zip(video, given.frames, found["boxes"], strict=True):
        assert frame.shape == plain.shape
        changed = np.abs(frame.astype(int) - plain).max(axis=2) > 60
        x, y, width = (round(value) for value in box[:3])
        shown.append(changed[max(y - 3, 0) : y + 3, max(x, 0) : x + width].mean() > 0.2)  # above
    assert shown == [state != "not_found" for state in found["states"]]
    assert sum(shown) > 6


def test_a_video_is_tracked_from_the_box_given(given: Given) -> None:
    with video_writer("clip.mp4", 12.5) as add:
        for frame in given.frames:
            add(frame)
    said = done("track", "clip.mp4", "--box", given.box, "--weights", given.run)
    assert "success" not in said
    found = record("runs/clip-track")
    assert (found["source"], found["frames"], found["frame_rate"]) == ("clip.mp4", 12, 12.5)
    assert found["boxes"][0] == list(given.boxes[0])
    assert Video("runs/clip-track/track.mp4").rate == 12.5
    done("track", "clip.mp4", "--box", given.box, "--weights", given.run)
    assert record("runs/clip-track-2")["boxes"] == found["boxes"]


def test_images_are_tracked_in_natural_order_by_a_network_alone(given: Given) -> None:
    """Twelve files: 10.png comes after 9.png."""
    done(
        "track",
        given.sequence / "img",
        "--box",
        given.box,
        "--weights",
        given.weights,
        "--out",
        "a",
    )
    found = record("a")
    assert found["settings"]["image_size"] == CROP
    assert found["settings"]["online"] != record_settings(given)["online"]
    recipe = given.run / "recipe.yaml"
    done("track", given.sequence, recipe, "--weights", given.weights, "--out", "b")
    done("track", given.sequence, "--weights", given.run, "--out", "c")
    assert record("b")["boxes"] == record("c")["boxes"]
    assert record("a")["frames"] == 12


def record_settings(given: Given) -> dict:
    return load_recipe(given.run / "recipe.yaml").data.model_dump(mode="json")


def test_without_a_video_the_first_validation_sequence_is_tracked(given: Given) -> None:
    said = done("track", "--weights", given.run, "data.photo_frames=5", "--out", "out")
    (expected, *_) = photo_sequences(1, 5, 1)
    found = record("out")
    assert found["source"] == expected.name
    assert found["boxes"][0] == list(expected.boxes[0])
    assert (
        f"success AUC: {evaluate('otb', np.array(found['boxes']), expected.boxes)['success']:.2f}"
        in said
    )
    assert "what to track in?" in fault("track", "--weights", given.weights)


def test_values_of_the_recipe_can_be_replaced(given: Given) -> None:
    values = ("data.online.localisation.not_found=1000000",)
    said = done("track", given.sequence, *values, "--weights", given.run, "--out", "out")
    assert "the target is lost from frame 2 on, of 12" in said
    found = record("out")
    assert found["lost_from"] == 2
    assert found["states"] == ["normal", *["not_found"] * 11]
    assert found["boxes"] == [list(given.boxes[0])] * 12, "nothing moves"


def test_a_target_found_again_is_not_lost(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Found(given.boxes[0], 0.0, "not_found")
    missed = [3, 4]

    class Tracker:
        def start(self, image: np.ndarray, box: np.ndarray) -> None:
            self.number = 1

        def track(self, image: np.ndarray) -> Found:
            self.number += 1
            return gone if self.number in missed else Found(given.boxes[0], 1.0, "normal")

    monkeypatch.setattr(track, "_tracker_of", lambda *_: Tracker())
    said = done("track", given.sequence, "--weights", given.run, "--out", "out")
    assert "the target was not found in 2 frames of 12" in said
    assert record("out")["lost_from"] is None
    missed += range(5, 13)
    said = done("track", given.sequence, "--weights", given.run, "--out", "out")
    assert "the target is lost from frame 3 on, of 12" in said
    missed.remove(3)
    said = done("track", given.sequence, "--weights", given.run, "--out", "out")
    assert "the target was not found in 9 frames of 12" in said, "9 frames are a short while"


def test_a_box_that_reaches_beyond_the_frame_is_cut_off(given: Given) -> None:
    outcome = lwdna("track", given.sequence, "--box", "-5,60,25,30", "--weights", given.run,
                    "--out", "out")  # fmt: skip
    assert outcome.code == 0
    assert "note: the box -5,60,25,30 reaches beyond the first frame of 96x72" in outcome.err
    assert "the part inside is tracked, 0,60,20,12" in outcome.err
    assert record("out")["boxes"][0] == [0, 60, 20, 12]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ("10,20,30", "cannot read --box 10,20,30: write x,y,w,h"),
        ("a,b,c,d", "cannot read --box a,b,c,d"),
        ("1,2,3,nan", "cannot read --box 1,2,3,nan"),
        ("1,2,3,inf", "cannot read --box 1,2,3,inf"),
        ("", "cannot read --box"),
        ("10,10,0,20", "the box 10,10,0,20 has no area"),
        ("10,10,20,-5", "has no area"),
        ("96,10,20,20", "lies outside of the first frame of 96x72 pixels"),
        ("-20,10,20,20", "lies outside of the first frame"),
        ("10,72.5,20,20", "lies outside of the first frame"),
    ],
)
def test_a_box_of_which_nothing_can_be_made_is_refused(
    given: Given, box: str, expected: str
) -> None:
    message = fault("track", given.sequence, f"--box={box}", "--weights", given.run, "--out", "out")
    assert expected in message
    assert not Path("out").exists()


def test_sources_of_which_nothing_can_be_made(given: Given) -> None:
    def refused(source: str | Path, *more: str) -> str:
        message = fault("track", source, *more, "--weights", given.run, "--out", "out")
        assert not Path("out").exists()
        return message

    box = ("--box", "1,2,30,40")
    assert "there is no video or folder gone.mp4" in refused("gone.mp4", *box)
    Path("empty").mkdir()
    assert "empty has no frames" in refused("empty", *box)
    Path("junk.mp4").write_bytes(b"hello")
    assert "the video junk.mp4 is damaged or is not a video" in refused("junk.mp4", *box)
    assert "is one image" in refused(given.sequence / "img" / "1.png", *box)
    assert "which target?" in refused(given.sequence / "img")
    assert f"name one of them: {given.sequence}" in refused(given.sequence.parent, *box)
    short = write_sequence(Path("short"), given.frames, given.boxes[:-2])
    for more in ((), box):
        assert "has 12 frames and 10 boxes" in refused(short, *more)
    absent = np.vstack([np.full((1, 4), np.nan), given.boxes[1:]])
    unknown = write_sequence(Path("unknown"), given.frames, absent)
    assert "has no box in the first frame" in refused(unknown)
    (unknown / "img" / "1.png").write_bytes(b"")
    assert "img/1.png is damaged" in refused(unknown, *box)


def test_truth_in_the_files_of_other_benchmarks(given: Given) -> None:
    """GOT-10k has frames and groundtruth.txt in one folder, LaSOT the frames in img."""
    lasot = write_sequence(Path("car-1"), given.frames, given.boxes)
    (lasot / "groundtruth_rect.txt").rename(lasot / "groundtruth.txt")
    got10k = Path("GOT-10k_Val_000001")
    write_sequence(got10k, given.frames, given.boxes)
    for image in (got10k / "img").iterdir():
        image.rename(got10k / image.name)
    (got10k / "img").rmdir()
    (got10k / "groundtruth_rect.txt").rename(got10k / "groundtruth.txt")
    beside = Path("beside")
    shutil.copytree(got10k, beside)
    (beside / "groundtruth.txt").rename(beside / "groundtruth_rect.txt")
    for number, folder in enumerate((given.sequence, lasot, got10k, beside)):
        said = done("track", folder, "--weights", given.run, "--out", f"{number}")
        assert "success AUC" in said
        assert record(f"{number}")["boxes"] == record("0")["boxes"]


def test_of_two_targets_the_first_is_tracked(given: Given) -> None:
    folder = write_sequence(Path("Pair"), given.frames, given.boxes)
    (folder / "groundtruth_rect.2.txt").write_text("1,1,10,10\n" * 12)
    done("track", folder, "--weights", given.run, "--out", "out")
    assert record("out")["boxes"][0] == list(given.boxes[0])


def test_what_was_found_before_a_damaged_frame_is_kept(given: Given) -> None:
    done("track", given.sequence, "--weights", given.run, "--out", "whole")
    folder = write_sequence(Path("torn"), given.frames, given.boxes)
    content = (folder / "img" / "8.png").read_bytes()
    (folder / "img" / "8.png").write_bytes(content[: len(content) // 2])
    message = fault("track", folder, "--weights", given.run, "--out", "out")
    assert "img/8.png is damaged" in message
    assert "the boxes of the 7 frames until then are in out/boxes.txt" in message
    assert record("out")["boxes"] == record("whole")["boxes"][:7]
    assert record("out")["complete"] is False
    assert len(rows("out")) == Video("out/track.mp4").count == 7


def test_stopping_keeps_what_was_found(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt = at_call(5, track.draw_boxes, lambda: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(track, "draw_boxes", interrupt)
    outcome = lwdna("track", given.sequence, "--weights", given.run, "--out", "out")
    assert outcome.code == 130
    assert "stopped after frame 5; the boxes of the 5 frames until then are in" in outcome.err
    assert len(rows("out")) == Video("out/track.mp4").count == 5
    assert record("out")["complete"] is False
    assert {path.name for path in Path("out").iterdir()} == {"boxes.txt", "boxes.json", "track.mp4"}


def test_what_was_found_is_kept_where_the_video_cannot_be_written(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise track.FileError("no space left")

    monkeypatch.setattr(track, "draw_boxes", at_call(4, track.draw_boxes, full))
    message = fault("track", given.sequence, "--weights", given.run, "--out", "out")
    assert "no space left (the boxes of the 4 frames until then are in out/boxes.txt)" in message
    assert {path.name for path in Path("out").iterdir()} == {"boxes.txt", "boxes.json"}


def test_a_network_that_is_not_finite_is_told_of(given: Given) -> None:
    network, architecture = load(given.weights)
    with torch.no_grad():
        next(network.classifier.parameters()).fill_(torch.nan)
    save(network, architecture, "nan.safetensors")
    message = fault("track", given.sequence, "--weights", "nan.safetensors", "--out", "out")
    assert "not finite" in message
    assert not Path("out").exists()


def test_without_pyav_there_is_a_picture(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track, "can_write_videos", lambda: False)
    said = done("track", given.sequence, "--weights", given.run, "--out", "out")
    assert "picture: out/track.png" in said
    assert "pip install lwdna[video]" in said
    width, height = Image.open("out/track.png").size
    assert width >= 4 * SIZE[0]
    assert height >= 3 * SIZE[1]
    assert not Path("out/track.mp4").exists()


def test_networks_that_are_no_trackers(given: Given, job: Path) -> None:
    message = fault("track", given.sequence, "--weights", job / "lwdna")
    assert "is for classification, so its network is no tracker" in message
    weights = Path("alone.safetensors")
    weights.write_bytes((job / "lwdna" / "model.safetensors").read_bytes())
    assert "which is no tracker's" in fault("track", given.sequence, "--weights", weights)
    message = fault("track", given.sequence, given.run / "recipe.yaml", "--weights", weights)
    assert "is no tracker of the kind dimp" in message
    assert "no run or file nowhere" in fault("track", given.sequence, "--weights", "nowhere")
    message = fault("track", given.sequence, "data.area=4", "--weights", weights)
    assert "values of which recipe?" in message


def test_frames_are_not_overwritten(given: Given) -> None:
    with video_writer("track.mp4", 25) as add:
        add(given.frames[0])
    box = ("--box", given.box, "--weights", given.run, "--out")
    assert "would be overwritten" in fault("track", "track.mp4", *box, ".")
    folder = write_sequence(Path("own"), given.frames, given.boxes)
    for out in (folder, folder / "img"):
        assert "holds the frames" in fault("track", folder, *box, out)
