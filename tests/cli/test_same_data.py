"""A run goes on with its own data only, and a network is judged on its own classes only."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lwdna.architecture import load, save
from lwdna.files import read_json
from lwdna.interface import Interface, read_interface
from lwdna.tasks.classification import ClassificationTask
from lwdna.tasks.restoration import RestorationTask
from lwdna.workflows import cells, steps

from .command import PHOTOS, at_call, done, fault, image_folder, lwdna

GIVEN = (
    "images", "--model", "lwdna:resnet8_digits", "--data", "photos", *PHOTOS,
    "train.checkpoint_every=1",
)  # fmt: skip
STEPS = 2
"""Of one epoch: sixteen images in batches of eight."""
SEARCHES = {
    "warm-up": ("shrink.warmup.iterations=4", "shrink.warmup.checkpoint_every=1"),
    "trials": ("shrink.trials.count=3", "shrink.trials.length=1", "train.epochs=2"),
}


@pytest.fixture(autouse=True)
def photos(in_its_own_folder: None) -> Path:
    return image_folder(Path("photos"))


def swap(photos: Path) -> None:
    """Give the images of each class to the other."""
    for half in ("train", "val"):
        for one, other in (("ant", "x"), ("bee", "ant"), ("x", "bee")):
            (photos / half / one).rename(photos / half / other)


def stop(monkeypatch: pytest.MonkeyPatch, step: int, *command: object) -> None:
    """Run a command that is interrupted before the loss of a step."""
    with monkeypatch.context() as patched:
        act = at_call(step, ClassificationTask.loss, lambda: signal.raise_signal(signal.SIGINT))
        patched.setattr(ClassificationTask, "loss", act)
        assert lwdna(*command).code == 130


def test_training_goes_on_with_its_own_data_wherever_they_lie(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("train", *GIVEN, "--out", "whole")
    stop(monkeypatch, 2, "train", *GIVEN, "--out", "run")
    swap(photos)
    line = fault("train", "--resume", "--out", "run")
    assert "the run in run was started with other data: the training image ant/0.png" in line
    swap(photos)
    shutil.move("photos", "moved")
    done("train", "--resume", "--out", "run", "--data", "moved")
    files = [Path(name, "model.safetensors").read_bytes() for name in ("whole", "run")]
    assert files[0] == files[1]
    assert read_json("whole/data.json") == read_json("run/data.json")


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_search_goes_on_with_its_own_data(
    photos: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    command = ("shrink", *GIVEN, *SEARCHES[kind], "--out", "search")
    stop(monkeypatch, 6 if kind == "trials" else 3, *command)
    swap(photos)
    assert "other data" in fault("shrink", "--resume", "--out", "search")
    assert "already holds a search that was stopped" in fault(*command)
    swap(photos)
    done("shrink", "--resume", "--out", "search")


def test_a_job_goes_on_with_its_own_data(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search and the baseline are finished; what is left would not look at their data."""

    def stopping() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(steps, "run_training", at_call(2, steps.run_training, stopping))
        assert lwdna("quickstart", *GIVEN, "--out", "job").code == 130
    assert Path("job/baseline/results.json").is_file()
    (photos / "val" / "ant" / "0.png").unlink()
    line = fault("quickstart", "--resume", "--out", "job")
    assert "there were 8 validation images and there are 7 now (ant/0.png is gone)" in line
    assert not Path("job/lwdna").exists()


ARMS = ("--arms", "baseline,random", "--seeds", "1")


def test_all_cells_of_a_comparison_have_the_same_data(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("compare", *GIVEN, *ARMS, "--out", "study")
    swap(photos)
    for command in (
        ("--resume", "--out", "study"),
        (*GIVEN, "--seeds", "2", "--out", "study"),
        (*GIVEN, "--seeds", "2", "--shard", "2/2", "--out", "study"),
    ):
        line = fault("compare", *command)
        assert "the run in study was started with other data" in line
    # the data change while a comparison is at work
    with monkeypatch.context() as patched:
        changing = at_call(2, cells.train_once, lambda: swap(photos))
        patched.setattr(cells, "train_once", changing)
        line = fault("compare", *GIVEN, *ARMS, "--out", "other")
    assert "the run in other was started with other data" in line


def test_runs_of_earlier_versions_go_on_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    stop(monkeypatch, 2, "train", *GIVEN, "--out", "run")
    Path("run/data.json").unlink()
    said = done("train", "--resume", "--out", "run")
    assert said.count("run does not say which data it was started with (data.json)") == 1
    assert not Path("run/data.json").exists(), "nobody knows what they were"


@pytest.mark.parametrize("damage", ["{", "[]", '{"version": 1}', "flipped"])
def test_a_damaged_fingerprint_is_no_change_of_the_data(
    monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    stop(monkeypatch, 2, "train", *GIVEN, "--out", "run")
    path = Path("run/data.json")
    text = path.read_text()
    path.write_text(text.replace('"ant"', '"aot"') if damage == "flipped" else damage)
    line = fault("train", "--resume", "--out", "run")
    assert "run/data.json is damaged" in line
    assert "restore it, or delete it" in line


@pytest.fixture
def run(photos: Path) -> Path:
    done("train", *GIVEN, "--out", "run")
    return Path("run")


def test_a_network_is_evaluated_on_its_own_classes(run: Path, photos: Path) -> None:
    weights = run / "model.safetensors"
    assert read_interface(weights).classes == ("ant", "bee")
    (photos / "val" / "ant" / "0.png").unlink()  # other images may be judged
    before = json.loads(done("evaluate", run, "--json"))
    for half in ("train", "val"):
        (photos / half / "ant").rename(photos / half / "zebra")
    line = fault("evaluate", run)
    assert "the class ant is not there any more and the class zebra was not there" in line
    assert "--any-classes" in line
    # outputs are numbered as before: zebra is the second class now
    assert json.loads(done("evaluate", run, "--any-classes", "--json")) != before


def test_weights_that_do_not_name_their_classes(run: Path) -> None:
    network, architecture = load(run / "model.safetensors")
    save(network, architecture, "plain.safetensors")
    assert read_interface("plain.safetensors").classes is None
    outcome = lwdna("evaluate", "plain.safetensors", run / "recipe.yaml", "--json")
    assert outcome.code == 0
    assert outcome.err.count("plain.safetensors does not name its classes") == 1
    assert json.loads(outcome.out) == json.loads(done("evaluate", run, "--json"))


def test_teachers_and_networks_to_shrink_know_the_same_classes(run: Path) -> None:
    image_folder(Path("birds"), ("auk", "bee"))
    other = [part if part != "photos" else "birds" for part in GIVEN]
    line = fault("train", *other, f"distill.teacher={run}", "--out", "taught")
    assert "the teacher run was trained for other classes" in line
    assert "the class ant is not there any more and the class auk was not there" in line
    line = fault("shrink", *other, "shrink.width_mult=1", "--weights", run, "--out", "small")
    assert "run/model.safetensors was trained for other classes" in line
    assert not Path("taught").exists()
    assert not Path("small").exists()
    done("train", *other, "--architecture", run / "model.safetensors", "--out", "tuned")
    assert read_interface("tuned/model.safetensors").classes == ("auk", "bee"), "they are learnt"


def test_restoration(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    for half in ("train", "val"):
        Path("scans", half).mkdir(parents=True)
        for number in range(2):
            pixels = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"scans/{half}/{number}.png")
    Path("r.yaml").write_text(
        "task: restoration\nmodel: {name: lwdna:dncnn17, args: {depth: 3, width: 5}}\n"
        "data: {root: scans, noise: 25, patch_size: 8, patches: 8}\n"
        "train: {epochs: 1, batch_size: 2, warmup_epochs: 0, checkpoint_every: 1}\n"
    )
    with monkeypatch.context() as patched:
        act = at_call(2, RestorationTask.loss, lambda: signal.raise_signal(signal.SIGINT))
        patched.setattr(RestorationTask, "loss", act)
        assert lwdna("train", "r.yaml", "--out", "run").code == 130
    path = Path("scans/val/1.png")
    content = path.read_bytes()
    Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(path)
    assert "the validation image val/1.png has other contents" in fault(
        "train", "--resume", "--out", "run"
    )
    path.write_bytes(content)
    done("train", "--resume", "--out", "run")
    assert read_interface("run/model.safetensors") == Interface(task="restoration")
