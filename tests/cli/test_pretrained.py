"""Baseline and network found start from pretrained weights, or neither."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

import lwdna
from lwdna.files import read_json

from .command import DIGITS, done, fault

NAME = "timm/test_resnet.r160_in1k (Hugging Face hub)"
PLACE = Path("models--timm--test_resnet.r160_in1k") / "snapshots" / "main" / "model.safetensors"
NETWORK = (*DIGITS, "--model", "timm:test_resnet")
FROZEN = ("train.lr=1e-30", "train.weight_decay=0", "train.epochs=1")
"""What training ends with is what it began with, but for running statistics."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the hub with weights of a network for a thousand classes, all different."""
    folder = tmp_path_factory.mktemp("hub")
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.rand(tensor.shape, generator=generator)
        for name, tensor in timm.create_model("test_resnet").state_dict().items()
        if tensor.is_floating_point()
    }
    counts = {
        name: tensor
        for name, tensor in timm.create_model("test_resnet").state_dict().items()
        if name not in tensors
    }
    (folder / PLACE).parent.mkdir(parents=True)
    save_file({**tensors, **counts}, folder / PLACE)
    return folder


@pytest.fixture(autouse=True)
def only_this_machine(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)


@pytest.fixture(scope="module")
def job(hub: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job") / "job"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(constants, "HF_HUB_CACHE", str(hub))
        done("quickstart", *NETWORK, "--pretrained", *FROZEN, "--out", folder)
    return folder


def test_both_networks_start_from_the_published_weights(job: Path, hub: Path) -> None:
    results = read_json(job / "results.json")
    assert [results[arm]["pretrained"] for arm in ("baseline", "lwdna")] == [NAME, NAME]
    found = lwdna.Architecture.load(job / "lwdna" / "architecture.lwdna.json")
    assert found.found["pretrained"] == NAME
    given = load_file(hub / PLACE)
    whole, part = (load_file(job / arm / "model.safetensors") for arm in ("baseline", "lwdna"))
    wider = narrower = 0
    for name, tensor in given.items():
        if name.startswith("fc."):
            assert whole[name].shape[0] == 4
        elif "running" not in name and "num_batches" not in name and name != "conv1.0.weight":
            assert torch.equal(whole[name], tensor)
        if tensor.ndim == 1 and name.endswith("weight"):  # scales of normalisation, all different
            assert torch.isin(part[name], tensor).all()
            assert len(part[name].unique()) == min(len(part[name]), len(tensor))
            wider += len(part[name]) > len(tensor)
            narrower += len(part[name]) < len(tensor)
    assert wider
    assert narrower
    assert torch.allclose(part["fc.bias"], whole["fc.bias"])  # fresh, from the seed


def test_what_reads_a_unit_is_shared_by_its_copies(job: Path) -> None:
    """Sums over copies are the pretrained network's own weights."""
    whole, part = (load_file(job / arm / "model.safetensors") for arm in ("baseline", "lwdna"))
    compared = 0
    for name, weight in part.items():
        if weight.ndim < 2 or name == "conv1.0.weight":
            continue
        full = whole[name].sum(dim=1).flatten()
        if weight.shape[1] >= whole[name].shape[1]:
            kept = weight.sum(dim=1).flatten()
            assert all(float((full - one).abs().min()) < 1e-4 for one in kept)
            compared += weight.shape[1] > whole[name].shape[1]
    assert compared


def test_one_without_the_other_is_refused(job: Path) -> None:
    found = job / "search" / "architecture.lwdna.json"
    line = fault("train", *NETWORK, "--pretrained", "--architecture", found, "--out", "a")
    assert "would start from fresh weights" in line
    line = fault("train", *NETWORK, "--architecture", found.with_name("model.safetensors"))
    assert f"starts from pretrained weights ({NAME})" in line
    assert "--pretrained" in line
    line = fault("train", *NETWORK, "model.args.pretrained=true", "--out", "a")
    assert "model.pretrained=true (--pretrained)" in line
    assert not Path("a").exists()
    done(
        "train", *NETWORK, "--pretrained", *FROZEN, "--out", "a",
        "--architecture", found.with_name("model.safetensors"),
    )  # fmt: skip
    assert read_json(Path("a") / "results.json")["pretrained"] == NAME


def test_weights_that_cannot_be_had_are_one_line_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "empty")
    for verb in ("quickstart", "train", "compare", "shrink", "slim"):
        line = fault(verb, *NETWORK, "--pretrained", "--out", "out")
        assert NAME in line
        assert str(Path("empty") / PLACE) in line
        assert "huggingface.co does not answer (no network here)" in line
        assert "model.pretrained=FILE" in line
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in fault("train", *NETWORK, "--pretrained", "--out", "out")
    line = fault("quickstart", *NETWORK, "distill.teacher=timm:test_vit", "--out", "out")
    assert "timm/test_vit" in line
    line = fault("quickstart", *DIGITS, "--pretrained", "--out", "out")
    assert "lwdna:resnet8_digits comes with no trained weights" in line
    assert "there is no run or file nothing.pth" in fault(
        "quickstart", *DIGITS, "model.pretrained=nothing.pth", "--out", "out"
    )
    assert not Path("out").exists()


def test_what_cannot_be_searched_with_pretrained_weights_says_so() -> None:
    given = (*NETWORK, "--pretrained", "--out", "out")
    assert "leave out shrink.trials" in fault("shrink", *given, "shrink.trials.count=4")
    line = fault("shrink", *given, "shrink.warmup.iterations=2")
    assert "set shrink.width_mult=1, or leave out shrink.warmup" in line
    line = fault("shrink", *given, "shrink.width_mult=0.5")
    assert "copies can only widen" in line
    assert "shrink.width_mult=1" in line


def test_a_file_gives_weights_to_any_network_and_keeps_its_classes() -> None:
    trained = (*DIGITS, *FROZEN)
    done("train", *trained, "--out", "first")
    file = load_file(Path("first") / "model.safetensors")
    again = (*trained, "seed=7", "model.pretrained=first")
    done("train", *again, "--out", "same")
    same = load_file(Path("same") / "model.safetensors")
    start = {name: t for name, t in file.items() if "running" not in name and "num_b" not in name}
    assert all(torch.allclose(same[name], tensor) for name, tensor in start.items())
    done("compare", *again, "data.classes=3", "--seeds", "1", "--arms", "baseline,uniform",
         "--out", "study")  # fmt: skip
    for arm in ("baseline", "uniform"):
        folder = Path("study") / "cells" / arm / "seed7" / "training"
        assert read_json(folder / "results.json")["pretrained"].endswith("model.safetensors")
        other = load_file(folder / "model.safetensors")
        differing = {
            n
            for n, t in start.items()
            if other[n].shape != t.shape or not torch.allclose(other[n], t)
        }
        assert {name.rpartition(".")[0] for name in differing} == {"fc"}
