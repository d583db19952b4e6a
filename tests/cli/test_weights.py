"""Weights on their way: warmed up, inherited, shrunk, taught."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lwdna.engine import training
from lwdna.files import read_json

from .command import DIGITS, at_call, done, fault, lwdna

WARM = (*DIGITS, "shrink.warmup.iterations=3", "shrink.warmup.batch_size=8")


def _stop():
    raise KeyboardInterrupt


def test_a_killed_warm_up_goes_on_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (*WARM, "shrink.warmup.checkpoint_every=1", "shrink.inherit=true")
    done("shrink", *given, "--out", tmp_path / "straight")
    with monkeypatch.context() as patched:
        patched.setattr(training, "_update", at_call(3, training._update, _stop))
        assert lwdna("shrink", *given, "--out", tmp_path / "killed").code != 0
    assert not (tmp_path / "killed" / "architecture.lwdna.json").exists()
    done("shrink", "--resume", "--out", tmp_path / "killed")
    one, two = (
        [(tmp_path / name / file).read_bytes() for file in ("architecture.lwdna.json",)]
        for name in ("straight", "killed")
    )
    assert one == two
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("straight", "killed")]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_training_starts_from_inherited_weights(tmp_path: Path) -> None:
    done("shrink", *WARM, "shrink.inherit=true", "--out", "search")
    frozen = ("train.lr=1e-30", "train.weight_decay=0", "train.epochs=1")
    file = Path("search") / "model.safetensors"
    done("train", *WARM, "shrink.inherit=true", *frozen, "--architecture", file, "--out", "run")
    before, after = load_file(file), load_file(Path("run") / "model.safetensors")
    assert all(
        torch.equal(before[name], tensor)
        for name, tensor in after.items()
        if "running" not in name and "num_batches" not in name
    )
    assert read_json(Path("run") / "results.json")["initial_weights"] == str(file)


def test_a_job_inherits_and_learns_from_its_baseline() -> None:
    done("quickstart", *WARM, "shrink.inherit=true", "distill.teacher=baseline", "--out", "job")
    results = read_json(Path("job") / "results.json")
    assert "distill" not in results["baseline"]
    assert results["lwdna"]["distill"]["temperature"] == 4.0
    assert results["lwdna"]["initial_weights"].endswith("search/model.safetensors")


def test_a_trained_network_is_shrunk_with_its_weights(job: Path) -> None:
    given = (*DIGITS, "shrink.width_mult=1", "shrink.budget={macs: 0.6}", "shrink.inherit=true")
    done("shrink", *given, "--weights", job / "baseline", "--out", "small")
    whole = load_file(job / "baseline" / "model.safetensors")
    small = load_file(Path("small") / "model.safetensors")
    assert whole.keys() == small.keys()
    assert sum(t.numel() for t in small.values()) < sum(t.numel() for t in whole.values())
    for name, tensor in small.items():
        assert torch.isin(tensor, whole[name]).all()
    assert "width_mult=1" in fault("shrink", *DIGITS, "--weights", job / "baseline")


def test_a_trained_network_is_split_where_the_recipe_says_so(job: Path) -> None:
    """The plain baseline's weights, decomposed; nothing else is free but the ranks."""
    split = "model.transforms=[{name: factorize, init: svd-mix}]"
    given = (*DIGITS, split, "edits.pin=['*.mix']", "shrink.width_mult=1")
    more = ("shrink.inherit=true",)
    budget = ("shrink.budget={macs: 0.6}", "--weights", job / "baseline")
    done("shrink", *given, *more, *budget, "--out", "ranks")
    plain = load_file(job / "baseline" / "model.safetensors")
    small = load_file(Path("ranks") / "model.safetensors")
    matrix = plain["stages.2.0.conv2.weight"].flatten(1)
    mix = small["stages.2.0.conv2.mix.weight"].flatten(1)
    values, norms = torch.linalg.svdvals(matrix), mix.norm(dim=0)
    assert len(norms) < len(values)
    assert all(((values - norm).abs() < 1e-5).any() for norm in norms)
    assert "was transformed by factorize" in fault(
        "shrink", *DIGITS, "shrink.width_mult=1", "--weights", Path("ranks"), "--out", "other"
    )


def test_faults_have_one_line(job: Path) -> None:
    assert "only random weights" in fault("shrink", *DIGITS, "shrink.inherit=true")
    assert "nothing to resume" in fault("shrink", *DIGITS, "--resume", "--out", "nowhere")
    line = fault(
        "train", *DIGITS, "distill.teacher=baseline", "--out", "new",
        "--architecture", job / "search" / "architecture.lwdna.json",
    )  # fmt: skip
    assert "distill.teacher=runs/baseline" in line
