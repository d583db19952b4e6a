"""Whatever a user gets wrong is one line that says what was given and what to do."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import pytest

from lwdna.architecture import Architecture
from lwdna.files import read_json, write_json
from lwdna.tasks.classification import ClassificationTask

from .command import DIGITS, PHOTOS, at_call, done, fault, image_folder, lwdna

SMALL = ("--model", "lwdna:resnet8_digits")


def test_data_folders() -> None:
    message = fault("train", "images", *SMALL, "--data", "nowhere", *PHOTOS)
    assert "there is no data folder nowhere" in message
    data = image_folder(Path("photos"))
    (data / "train" / "cat").mkdir()
    (data / "val" / "cat").mkdir()
    message = fault("shrink", *SMALL, "--data", data, *PHOTOS, "--out", "search")
    assert "photos/train/cat has no images" in message
    assert not Path("search").exists()


def test_a_class_without_validation_images_is_told_and_learnt() -> None:
    data = image_folder(Path("photos"))
    shutil.rmtree(data / "val" / "bee")
    note = "note: of 2 classes bee has no validation images; the figures say nothing of it"
    said = done("train", "images", *SMALL, "--data", data, *PHOTOS, "--out", "run")
    assert note in said.splitlines()
    outcome = lwdna("evaluate", "run", "--json")
    assert outcome.code == 0
    assert note in outcome.err.splitlines()
    assert (
        json.loads(outcome.out)["top1"] == json.loads(Path("run/results.json").read_text())["top1"]
    )
    (data / "train" / "bee").rename(data / "val" / "bee")
    said = done("train", "images", *SMALL, "--data", data, *PHOTOS, "--out", "third")
    assert "note: left out 8 validation images in photos/val of bee, which photos/train" in said


@pytest.mark.parametrize("in_memory", ["true", "false"])
def test_a_corrupt_image_is_named(in_memory: str) -> None:
    data = image_folder(Path("photos"))
    (data / "train" / "bee" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    message = fault(
        "train", "images", *SMALL, "--data", data, *PHOTOS,
        "data.workers=1", f"data.in_memory={in_memory}", "data.resize=16",
    )  # fmt: skip
    assert "photos/train/bee/3.png" in message


def test_names() -> None:
    assert "did you mean resnet18," in fault("train", "digits", "--model", "resnet18x")
    assert "timm:resnet18" in fault("inspect", "timm:resnt18")
    assert "did you mean train.epochs" in fault("train", *DIGITS, "train.epoch=3")
    assert "did you mean digits" in fault("train", "digitz")
    assert "lwdna list recipes" in fault("train")
    assert "one recipe at a time" in fault("train", "digits", "images")
    assert "num_clases" in fault("train", *DIGITS, "model.args.num_clases=3")


def test_budgets() -> None:
    for verb in ("shrink", "quickstart"):
        message = fault(verb, *DIGITS, "shrink.budget={macs: 9}", "--out", f"{verb}-1")
        assert "the widened network's" in message
        assert "lower the budget" in message
        message = fault(verb, *DIGITS, "shrink.budget.macs=0.01", "--out", f"{verb}-2")
        assert "the floors alone cost" in message
        assert "raise the budget" in message


def test_an_architecture_file_that_is_damaged_or_of_another_version(job: Path) -> None:
    file = job / "search" / "architecture.lwdna.json"
    given = json.loads(file.read_text())

    def train(**changes: object) -> str:
        write_json("changed.json", {**given, **changes})
        return fault("train", *DIGITS, "--architecture", "changed.json", "--out", "run")

    assert "format version 2" in train(format_version=2)
    widths = dict(given["widths"])
    renamed = {**widths, "steam.0": widths["stem.0"]}
    del renamed["stem.0"]
    assert "'steam.0'" in train(widths=renamed)
    assert "did you mean stem.0" in train(widths=renamed)
    assert "widths" in train(widths="many")
    assert "MACs" in train(widths={**widths, "stem.0": widths["stem.0"] + 1})
    Path("changed.json").write_text("{")
    message = fault("train", *DIGITS, "--architecture", "changed.json", "--out", "run")
    assert "is not an architecture file" in message
    message = fault("train", *DIGITS, "--architecture", "nowhere.json", "--out", "run")
    assert "nowhere.json" in message
    assert not Path("run").exists()


def test_an_architecture_of_another_network_or_data_set(job: Path) -> None:
    file = job / "search" / "architecture.lwdna.json"
    train = ("train", *DIGITS, "--architecture", file, "--out", "run")
    message = fault(*train, "model.name=resnet20_cifar")
    assert "lwdna:resnet8_digits" in message
    assert "lwdna:resnet20_cifar" in message
    assert "4 classes" in fault(*train, "data.classes=3")
    assert "width_mult=None" in fault(*train, "model.args.width_mult=2")
    assert "data.in_chans=1" in fault(*train, "data.in_chans=3")
    assert not Path("run").exists()


def test_evaluating_the_wrong_thing(job: Path) -> None:
    assert f"did you mean {job}/baseline" in fault("evaluate", job)
    assert "there is no run or file nowhere" in fault("evaluate", "nowhere")
    assert "finish its training" in fault("evaluate", job / "search")
    Path("notes.txt").write_text("hello")
    assert "notes.txt" in fault("evaluate", "notes.txt", "digits")
    best = job / "lwdna" / "checkpoints" / "best.safetensors"
    assert "no lwdna architecture" in fault("evaluate", best, "digits")
    weights = job / "lwdna" / "model.safetensors"
    assert "4 classes" in fault("evaluate", weights, "digits")
    shutil.copy(weights, "moved.safetensors")
    assert "name the recipe" in fault("evaluate", "moved.safetensors")
    Path("cut.safetensors").write_bytes(weights.read_bytes()[:-100])
    assert "cut.safetensors" in fault("evaluate", "cut.safetensors", *DIGITS)


def test_reporting_the_wrong_thing() -> None:
    assert "nowhere" in fault("report", "nowhere")
    Path("empty").mkdir()
    assert "empty" in fault("report", "empty")


def test_inspecting_the_wrong_thing(job: Path) -> None:
    assert "--size" in fault("inspect", "torchvision:alexnet", "--size", 16)
    assert "--channels" in fault("inspect", "resnet18", "--channels", 1)
    assert "is no architecture file" in fault("inspect", job)
    assert "version" in fault("inspect", job / "results.json")


def test_networks_that_do_not_fit_the_data() -> None:
    data = image_folder(Path("photos"))
    message = fault("shrink", "--model", "torchvision:alexnet", "--data", data, *PHOTOS)
    assert "3, 16, 16" in message
    message = fault("train", *DIGITS, "--model", "torchvision:resnet18")
    assert "in_chans" in message
    assert not Path("runs").exists()


def test_code_is_run_only_with_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    source = "python:tests.cli.networks:plain"
    for verb in ("shrink", "train", "quickstart"):
        message = fault(verb, *DIGITS, "--model", source, "--out", verb)
        assert "--trust-code" in message
    assert "--trust-code" in fault("inspect", source)
    done("quickstart", *DIGITS, "--model", source, "--trust-code", "--out", "mine")
    architecture = Architecture.load("mine/search/architecture.lwdna.json")
    assert architecture.widths.keys() == {"0"}
    message = fault("evaluate", "mine/lwdna")
    assert "--trust-code" in message
    assert "top1" in done("evaluate", "mine/lwdna", "--trust-code")


def test_a_folder_in_use_is_left_alone(job: Path) -> None:
    before = {path: path.read_bytes() for path in job.rglob("*") if path.is_file()}
    for name in ("baseline", "lwdna"):
        assert "--resume" in fault("train", *DIGITS, "--out", job / name)
        assert "already holds" in fault("shrink", *DIGITS, "--out", job / name)
    assert "already holds" in fault("shrink", *DIGITS, "--out", job / "search")
    assert "--resume" in fault("quickstart", *DIGITS, "--out", job)
    after = {path: path.read_bytes() for path in job.rglob("*") if path.is_file()}
    assert before == after


def test_resuming_nothing_or_something_else(job: Path) -> None:
    Path("empty").mkdir()
    for folder in ("empty", "nowhere"):
        for verb in ("train", "quickstart"):
            assert "nothing to resume" in fault(verb, *DIGITS, "--resume", "--out", folder)
    assert "--out" in fault("train", *DIGITS, "--resume")
    assert "--out" in fault("quickstart", "--resume")
    assert not Path("nowhere").exists()
    message = fault("train", *DIGITS, "train.lr=0.3", "--resume", "--out", job / "baseline")
    assert "train.lr was 0.1 and is now 0.3" in message
    message = fault("quickstart", *DIGITS, "shrink.floor=0.3", "--resume", "--out", job)
    assert "shrink.floor was 0.25 and is now 0.3" in message


def test_a_checkpoint_of_another_network(job: Path) -> None:
    for name in ("baseline", "lwdna"):
        shutil.copytree(job / name, name)
    shutil.copy("lwdna/checkpoints/last.safetensors", "baseline/checkpoints/last.safetensors")
    message = fault("train", "--resume", "--out", "baseline")
    assert "another network" in message
    assert "baseline/checkpoints/last.safetensors" in message
    message = fault("train", "--architecture", job / "search" / "architecture.lwdna.json",
                    "--resume", "--out", "baseline")  # fmt: skip
    assert "trains another architecture" in message


def test_a_loss_that_explodes_keeps_what_was_there() -> None:
    message = fault("train", *DIGITS, "train.lr=1e30", "--out", "run")
    assert "not finite" in message
    assert "train.lr" in message
    fault("quickstart", *DIGITS, "train.lr=1e30", "--out", "job")
    assert read_json("job/search/search.json")["groups"]


def test_a_full_disk_keeps_the_checkpoint_before(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = {}

    def fill() -> None:
        before.update({path.name: path.read_bytes() for path in Path("run/checkpoints").iterdir()})
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))

    with monkeypatch.context() as patched:
        act = at_call(6, ClassificationTask.loss, fill)
        patched.setattr(ClassificationTask, "loss", act)
        try:
            message = fault("train", *DIGITS, "--out", "run")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot write run/checkpoints/" in message
    assert "free some space" in message
    assert before.keys() == {"best.safetensors", "last.safetensors"}
    after = {path.name: path.read_bytes() for path in Path("run/checkpoints").iterdir()}
    assert after == before, "and nothing half-written beside them"
    done("train", "--resume", "--out", "run")
    weights = (folder / "model.safetensors" for folder in (Path("run"), job / "baseline"))
    assert len({file.read_bytes() for file in weights}) == 1


def test_several_processes_need_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert "several processes need to know the folder" in fault("train", *DIGITS)
    assert not Path("runs").exists()


def test_a_start_that_failed_is_in_nobodys_way() -> None:
    given = ("quickstart", *DIGITS, "train.epochs=1")
    for _ in range(2):
        assert "the floors alone cost" in fault(*given, "shrink.budget.macs=0.01")
    assert [path.name for path in Path("runs").iterdir()] == ["digits"]
    done(*given, "--out", "runs/digits")
    assert Path("runs/digits/report.html").is_file()
    assert "not an empty folder" in fault(*given, "--out", "runs/digits")
