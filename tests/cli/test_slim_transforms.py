"""A trained network rewritten before it is made smaller, as the recipes of Hinge have it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lwdna
from lwdna.engine import training
from lwdna.files import read_json
from lwdna.recipe import load_recipe
from lwdna.transforms.merge import gains_by_merging, pairs_in

from .command import DIGITS, at_call, done, fault
from .command import lwdna as run

QUICK = (
    "slim.tune={epochs: 1, milestones: [1], lr: 0.02}",
    "slim.warmup.until={threshold: 5.0e-3, check_every: 1, at_most: {iterations: 2}}",
    "slim.batches=1",
    "slim.recalibrate=1",
)
TINY = (
    "model.name=lwdna:resnet8_digits",
    "data.kind=digits",
    "data.in_chans=1",
    "data.image_size=8",
    *DIGITS[1:],
    "train.epochs=1",
    "train.milestones=[1]",
)


def test_a_recipe_of_hinge_splits_prunes_and_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget and the first stage are those of the plain network; nothing but ranks goes."""
    given = ("slim", "hinge/resnet20-cifar10", *TINY, *QUICK)
    done(*given, "--out", "whole")
    record = read_json(Path("whole") / "slim.json")
    dense, sliced, _, tuned = record["stages"]
    plain = lwdna.create_model("lwdna:resnet8_digits", num_classes=4)
    cost = lwdna.trace(plain, torch.zeros(1, 1, 8, 8)).cost()
    assert (dense["macs"], dense["params"]) == (cost.macs, cost.params)
    assert 0.4 * cost.macs < sliced["macs"] <= 0.4516 * cost.macs
    assert tuned["macs"] <= sliced["macs"]
    changed = [one["name"] for one in record["groups"] if one["found"] < one["dense"]]
    assert len(changed) > 3
    assert all(name.endswith(".basis") for name in changed)
    network, arch = lwdna.load(Path("whole") / "model.safetensors")
    assert not any(gains_by_merging(pair) for pair in pairs_in(network).values())
    assert len(pairs_in(network)) == 6 - len(arch.found.get("merged", []))
    assert lwdna.trace(network, torch.zeros(1, 1, 8, 8)).cost().macs == tuned["macs"]

    with monkeypatch.context() as patched:  # in the sparse training
        patched.setattr(training, "_update", at_call(6, training._update, lambda: 1 / 0))
        with pytest.raises(ZeroDivisionError):
            run(*given, "--out", "killed")
    done("slim", "--resume", "--out", "killed")
    one, two = (load_file(Path(name) / "model.safetensors") for name in ("whole", "killed"))
    assert one.keys() == two.keys()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_what_a_trained_network_cannot_become_is_said_before_it_is_trained() -> None:
    line = fault("slim", "hinge/resnet20-cifar10", *TINY, "slim.protect=[tsem]", "--out", "x")
    assert "tsem" in line
    line = fault("slim", "hinge/resnet20-cifar10", *TINY, "slim.budget.macs=0.05", "--out", "x")
    assert "budget" in line
    split = "slim.transforms=[{name: factorize, layers: tsages.*}]"
    assert "names no convolution" in fault(
        "slim", "hinge/resnet20-cifar10", *TINY, split, "--out", "x"
    )


def test_the_recipes_of_hinge_have_the_published_numbers() -> None:
    """Budgets and thresholds; what A's parameters are trained at, and everything else."""
    published = {
        "resnet20-cifar10": (0.4516, 5e-3),
        "resnet20-cifar100": (0.3298, 5e-3),
        "resnet56-cifar10": (0.5, 5e-3),
        "resnet164-cifar10": (0.5353, 1e-3),
        "resnet164-cifar100": (0.5533, 1e-3),
        "resnext20-cifar10": (0.5921, 5e-3),
        "resnext20-cifar100": (0.5351, 5e-3),
        "resnext164-cifar10": (0.4438, 5e-3),
        "resnext164-cifar100": (0.4769, 5e-3),
        "vgg16-cifar10": (0.609, 5e-2),
        "densenet40-cifar10": (0.5522, 1e-3),
        "wrn16-10-cifar100": (0.5731, 5e-3),
    }
    for name, (macs, threshold) in published.items():
        slim = load_recipe(f"hinge/{name}").slim
        assert slim.warmup is not None
        assert slim.warmup.until is not None
        assert (slim.budget.macs, slim.floor) == (macs, 0.2)
        assert (slim.warmup.until.threshold, slim.warmup.until.below) == (threshold, 0.1)
        scales = list(slim.warmup.lr_scale.items())
        assert scales[0] == ("*", 0.01)
        assert {scale for _, scale in scales[1:]} == {1.0}
        assert slim.warmup.lr == 0.1
