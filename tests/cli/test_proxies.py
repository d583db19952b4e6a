"""Searches whose trials are those of a proxy: stopped, shared, told; recipes that make none."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from launch import begin
from lwdna.architecture import Architecture
from lwdna.engine import training
from lwdna.files import read_json

from .command import DIGITS, at_call, done, fault, lwdna

PROXY = (
    *DIGITS,
    "model.args={width_mult: 2}",
    "shrink.trials.count=10",
    "shrink.trials.proxy={model.args.width_mult: 1, data: {train_limit: 8}, train.batch_size: 8}",
)
VALUES = {"model.args.width_mult": 1, "data.train_limit": 8, "train.batch_size": 8}
STEPS = 4
"""Steps of a trial: half of two epochs of 32 images in batches of eight."""


def _stop() -> None:
    raise KeyboardInterrupt


def test_a_search_on_a_proxy_goes_on_where_it_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    said = done("shrink", *PROXY, "--out", "straight")
    assert "trial 10 of 10: loss" in said
    proxy = "model.args.width_mult=1, data.train_limit=8, train.batch_size=8"
    assert f"Learnt on a proxy: {proxy}." in " ".join(said.split())
    record, found = (
        read_json(Path("straight/search.json")),
        Path("straight/architecture.lwdna.json"),
    )
    architecture = Architecture.load(found)
    own, tried = architecture.widths, record["trials"][0]["widths"]
    assert list(own) == list(tried)
    assert {g["name"]: g["baseline"] for g in record["groups"]} == {
        n: 2 * w for n, w in tried.items()
    }
    assert record["law"]["proxy"] == VALUES
    # a quarter of the MACs but for stem and head, of half the images
    assert 0.125 < record["law"]["proxy_cost"] < 0.15
    assert (
        yaml.safe_load(Path("straight/recipe.yaml").read_text())["shrink"]["trials"]["proxy"]
        == VALUES
    )

    with monkeypatch.context() as patched:
        patched.setattr(training, "_update", at_call(9 * STEPS + 2, training._update, _stop))
        assert lwdna("shrink", *PROXY, "--out", "stopped").code != 0
    again = done("shrink", "--resume", "--out", "stopped")
    assert "trial 9 of 10" not in again
    assert "trial 10 of 10" in again
    assert Path("stopped/architecture.lwdna.json").read_bytes() == found.read_bytes()


@pytest.mark.slow
def test_processes_share_the_trials_of_a_proxy() -> None:
    alone = (*PROXY, "shrink.trials.count=4", "train.epochs=20")
    done("shrink", *alone, "--out", "alone")
    code, _, err = begin("shrink", *alone, "--jobs", 2, "--out", "together").end()
    assert code == 0, err
    one, two = (read_json(Path(name, "search.json"))["trials"] for name in ("alone", "together"))
    assert [(t["widths"], t["loss"]) for t in one] == [(t["widths"], t["loss"]) for t in two]
    files = [Path(name, "architecture.lwdna.json").read_bytes() for name in ("alone", "together")]
    assert files[0] == files[1]


def test_the_cost_of_a_search_on_a_proxy_is_stated_in_trainings_of_the_network() -> None:
    arms = ("--seeds", 1, "--arms", "baseline,lwdna")
    said = done("compare", *PROXY, "shrink.trials.count=4", *arms, "--out", "study")
    cost = read_json(Path("study/cells/lwdna/search/search.json"))["law"]["proxy_cost"]
    stated = read_json(Path("study/results.json"))["arms"]["lwdna"]["search_trainings"]
    assert stated == pytest.approx(4 * 0.5 * cost, rel=1e-3)
    assert f"the search of lwdna took {stated:g} trainings" in said


@pytest.mark.parametrize(
    ("proxy", "line"),
    [
        ("{model.args.width: 0.5, seed: 3}", "seed cannot be a proxy's own; give values under"),
        ("{shrink.floor: 0.5}", "shrink.floor cannot be a proxy's own; give values under model"),
        ("{}", "it changes nothing; give values under model, data, train"),
        ("{data.image_sise: 8}", "data.image_sise is no known key; did you mean data.image_size?"),
        ("{train: {epochs: 0}}", "train.epochs=0: input should be greater than or equal to 1"),
        ("3", "shrink.trials.proxy=3: input should be a valid dictionary"),
    ],
)
def test_what_makes_no_proxy(proxy: str, line: str) -> None:
    said = fault("shrink", *DIGITS, f"shrink.trials.proxy={proxy}", "--out", "run")
    assert "shrink.trials.proxy" in said
    assert line in said
    assert not Path("run").exists()


def test_a_proxy_whose_trials_are_too_short() -> None:
    line = fault("shrink", *PROXY, "shrink.trials.proxy={train.batch_size: 64}", "--out", "run")
    assert "makes trials of 1 of the 2 steps" in line
