"""A trained network made smaller by one command."""

from __future__ import annotations

import io
import json
import shutil
import urllib.request
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import lwdna
from lwdna.engine import training
from lwdna.files import read_json
from lwdna.interop import onnx
from lwdna.workflows import slim_rounds

from .command import DIGITS, at_call, done, fault
from .command import lwdna as run

QUICK = ("slim.tune={epochs: 2, lr: 0.02}", "slim.batch_size=16", "slim.batches=2")
ROUNDS = {
    "iterative": "slim.schedule={kind: iterative, rounds: 2, epochs: 1}",
    "progressive": "slim.schedule={kind: progressive, rounds: 3, until: 0.7}",
}
WARM = {
    "iterative": ("slim.warmup={iterations: 3, batch_size: 16, checkpoint_every: 1}",),
    "progressive": (),
}


def _stop() -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def slimmed(job: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slim run; tests must not change it."""
    folder = tmp_path_factory.mktemp("slim") / "run"
    said = done(
        "slim", job / "baseline", "--macs", "0.5", "--params", "0.8", *QUICK, "--out", folder
    )
    assert "recalibrated" in said
    assert str(folder / "model.safetensors") in said
    return folder


def test_the_record_says_what_each_stage_is_worth(job: Path, slimmed: Path) -> None:
    record = read_json(slimmed / "slim.json")
    dense, sliced, recalibrated, tuned = record["stages"]
    names = [stage["name"] for stage in record["stages"]]
    assert names == ["dense", "sliced", "recalibrated", "tuned"]
    before, after = (
        read_json(job / "baseline" / "results.json"),
        read_json(slimmed / "results.json"),
    )
    assert dense["metrics"]["top1"] == before["top1"]
    assert (dense["macs"], dense["file_bytes"]) == (before["macs"], before["file_bytes"])
    assert tuned["metrics"]["top1"] == after["top1"]
    assert tuned["macs"] == sliced["macs"] == recalibrated["macs"] <= 0.5 * dense["macs"]
    assert tuned["params"] <= 0.8 * dense["params"]
    assert sliced["metrics"] != recalibrated["metrics"]
    assert after["distill"]["temperature"] == 4
    network, architecture = lwdna.load(slimmed / "model.safetensors")
    told = [
        lwdna.read_interface(folder / "model.safetensors")
        for folder in (slimmed, slimmed / "dense", slimmed / "rounds" / "1", job / "baseline")
    ]
    assert told[0].preprocessing is not None
    assert told[1:] == told[:-1]
    assert architecture.found["method"] == "slim"
    assert architecture.found["tune"] == {"epochs": 2, "lr": 0.02}
    assert {one["name"]: one["found"] for one in record["groups"]} == architecture.widths
    assert all(len(one["scores"]) == one["dense"] for one in record["groups"])
    assert sum(p.numel() for p in network.parameters()) == tuned["params"]
    assert record["metric"] == "top1"
    assert len(record["rounds"]) == 5
    assert record["rounds"][-1]["metrics"] == recalibrated["metrics"]
    assert f"{after['top1']:.2f}" in done("evaluate", slimmed, *DIGITS)


def test_what_was_sliced_can_be_sliced_again_and_exported(slimmed: Path) -> None:
    file = slimmed / "model.safetensors"
    lone = Path("lone.safetensors")
    lone.write_bytes(file.read_bytes())
    given = (*DIGITS[1:], *QUICK, "slim.distill=null")
    done("slim", lone, "--recipe", "digits", "--macs", "0.7", *given, "--onnx", "small.onnx")
    record = read_json(Path("runs") / "lone-slim" / "slim.json")
    before = read_json(slimmed / "slim.json")["stages"][-1]
    assert record["stages"][0]["metrics"] == before["metrics"]
    assert record["stages"][0]["macs"] == before["macs"]
    assert record["stages"][-1]["macs"] <= 0.7 * before["macs"]
    assert "distill" not in read_json(Path("runs") / "lone-slim" / "results.json")
    assert Path("small.onnx").stat().st_size > 1000


@pytest.mark.parametrize(("kind", "killed_at"), [("iterative", 4), ("progressive", 5)])
def test_a_killed_run_ends_like_one_that_was_not(
    job: Path, kind: str, killed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (*QUICK, ROUNDS[kind], "train.checkpoint_every=1", *WARM[kind])
    whole, killed = Path("whole"), Path("killed")
    done("slim", job / "baseline", "--macs", "0.4", *given, "--out", whole)
    with monkeypatch.context() as patched:
        patched.setattr(training, "_update", at_call(killed_at, training._update, _stop))
        assert run("slim", job / "baseline", "--macs", "0.4", *given, "--out", killed).code
    with monkeypatch.context() as patched:  # in the warm-up, or in a training of a round
        patched.setattr(training, "_update", at_call(2, training._update, _stop))
        assert run("slim", "--resume", "--out", killed).code
    with monkeypatch.context() as patched:
        patched.setattr(slim_rounds, "slice_off", at_call(1, slim_rounds.slice_off, _stop))
        assert run("slim", "--resume", "--out", killed).code
    done("slim", "--resume", "--out", killed)
    one, two = (load_file(folder / "model.safetensors") for folder in (whole, killed))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    first, second = (read_json(folder / "slim.json") for folder in (whole, killed))
    assert first["rounds"] == second["rounds"]
    assert len(first["rounds"]) == (2 if kind == "iterative" else 3)
    shares = [step["macs"] / first["stages"][0]["macs"] for step in first["rounds"]]
    wanted = [0.4 ** (number / len(shares)) for number in range(1, len(shares) + 1)]
    assert shares == pytest.approx(wanted, abs=0.06)
    assert all(share <= most for share, most in zip(shares, wanted, strict=True))
    steps = [json.loads(line)["step"] for line in (whole / "metrics.jsonl").open()]
    assert steps == ([4, 8] if kind == "iterative" else [8])


def test_without_weights_the_dense_network_is_trained_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = (*DIGITS, *QUICK, "train.epochs=1")
    assert "below what has to stay" in fault("slim", *given, "--macs", "0.01", "--out", "slim")
    assert not Path("slim").exists()
    with monkeypatch.context() as patched:
        patched.setattr(training, "_update", at_call(2, training._update, _stop))
        assert run("slim", *given, "--out", "slim").code
    assert not (Path("slim") / "dense" / "model.safetensors").exists()
    done("slim", "--resume", "--out", "slim")
    dense = read_json(Path("slim") / "dense" / "results.json")
    stages = read_json(Path("slim") / "slim.json")["stages"]
    assert stages[0]["metrics"]["top1"] == dense["top1"]
    assert stages[-1]["macs"] <= 0.5 * dense["macs"]


def test_networks_that_come_with_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def with_weights(name, pretrained=False, **args):
        network = create(name, **args)
        if pretrained:
            with torch.no_grad():
                network.get_classifier().weight.fill_(0.5)
        network.pretrained_cfg["num_classes"] = 4
        return network

    monkeypatch.setattr(timm, "create_model", with_weights)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO())
    given = ("digits", *DIGITS[1:], *QUICK, "--model", "timm:test_resnet", "--pretrained")
    done("slim", *given, "--out", "slim")
    weights = load_file(Path("slim") / "dense" / "model.safetensors")
    assert bool((weights["fc.weight"] == 0.5).all())
    line = fault("slim", *given, "data.classes=3", "--out", "other")
    assert "weights for 4 classes, the data have 3" in line


def test_faults_have_one_line(job: Path, slimmed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = job / "baseline"
    line = fault("slim", baseline, "--macs", "0.01", *QUICK)
    assert "is below what has to stay" in line
    assert "floor 0.1" in line
    assert not (Path("runs") / "baseline-slim").exists()
    assert "there is no run or recipe nowhere" in fault("slim", "nowhere", "--macs", "0.5")
    assert "which network?" in fault("slim", "--macs", "0.5")
    assert "holds no trained network" in fault("slim", job, "--macs", "0.5")
    other = ("--recipe", "digits", *DIGITS[1:])
    weights = baseline / "model.safetensors"
    assert "classes apart" in fault("slim", weights, *other, "data.classes=3")
    assert "already holds a run" in fault("slim", baseline, "--out", slimmed)
    assert "nothing to resume" in fault("slim", "digits", "--resume", "--out", "nothing")
    assert "another recipe" in fault("slim", "--resume", "--out", slimmed, "slim.floor=0.2")
    assert "two networks" in fault("slim", baseline, "--model", "resnet8_digits")
    assert "slim.tune: lrr is no value" in fault("slim", baseline, "slim.tune={lrr: 1}")
    tensors = load_file(weights)
    notes = {"lwdna_architecture": lwdna.Architecture.load(weights).to_json()}
    name = next(name for name, tensor in tensors.items() if tensor.ndim)
    tensors[name][0] = torch.nan
    save_file(tensors, "diverged.safetensors", metadata=notes)
    line = fault("slim", "diverged.safetensors", *other)
    assert f"are not finite ({name})" in line
    monkeypatch.setattr(onnx, "NEEDED", ("no_such_package",))
    assert "no_such_package" in fault("slim", baseline, "--onnx", "a.onnx")


def test_other_classes_and_other_data_are_refused(job: Path, slimmed: Path) -> None:
    done("train", "digits", "data.classes=3", *DIGITS[2:], "train.epochs=1", "--out", "three")
    line = fault("slim", job / "baseline", *QUICK, "slim.distill.teacher=three", "--out", "new")
    assert "three" in line
    assert "class" in line
    shutil.copytree(slimmed, "copy")
    shutil.copy(Path("three") / "data.json", Path("copy") / "data.json")
    assert "other data" in fault("slim", "--resume", "--out", "copy")
