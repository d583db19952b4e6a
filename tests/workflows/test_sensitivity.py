"""What each group of a network can lose, worked out by hand; stopped and gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import lwdna
from detectors import Detectors, DetectorSettings, DetectorTask
from lwdna.architecture import Architecture, save
from lwdna.errors import CheckpointError, FileError
from lwdna.methods.sensitivity.settings import SensitivitySettings
from lwdna.model_source import ModelSource
from lwdna.recipe import Recipe, load_recipe
from lwdna.run_options import RunOptions
from lwdna.workflows import run_sensitivity, sensitivity

lwdna.register_task("detectors", settings=DetectorSettings)(DetectorTask)
TRUSTED = RunOptions(trust_code=True)
BY_NORM = SensitivitySettings(criterion="weight-norm")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = ModelSource(name="python:detectors:Detectors")
    architecture = Architecture.of_baseline(source, (3, 1, 1), trust_code=True)
    path = tmp_path_factory.mktemp("detectors") / "model.safetensors"
    save(Detectors(), architecture, path)
    return path


def recipe(folder: Path, seed: int = 0, **data: Any) -> Recipe:
    values = {
        "seed": seed,
        "task": "detectors",
        "model": {"name": "python:detectors:Detectors"},
        "data": data,
        "shrink": {"batch_size": 10},
        "train": {"batch_size": 10},
    }
    file = folder / "detectors.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return load_recipe(file)


def run(weights: Path, folder: Path, settings: SensitivitySettings = BY_NORM) -> dict[str, Any]:
    out = folder / "out"
    return run_sensitivity(weights, recipe(folder), out, settings, options=TRUSTED)


def told(record: dict[str, Any], group: str, *keys: str) -> list[tuple[Any, ...]]:
    (found,) = (one for one in record["groups"] if one["name"] == group)
    return [tuple(one["metrics"].get(key, one.get(key)) for key in keys) for one in found["slices"]]


def test_losses_and_savings_worked_out_by_hand(weights: Path, tmp_path: Path) -> None:
    record = run(weights, tmp_path)
    assert json.loads((tmp_path / "out" / "sensitivity.json").read_text()) == record
    assert [(one["name"], one["width"]) for one in record["groups"]] == [("seen", 3), ("dead", 4)]
    assert (record["macs"], record["params"]) == (42, 9 + 12 + 4 + 9 + 3 + 12)
    # the running mean of the file makes a class 0 of everything, until it is computed anew
    assert record["dense"]["accuracy"] == 50
    assert record["recalibrated"]["accuracy"] == 100
    # at most of three units: class 2, of the smallest weights, goes first, then class 1
    assert told(record, "seen", "share", "width", "accuracy", "macs", "params") == [
        (0.75, 3, 100, 42, 49),
        (0.5, 2, 80, 42 - 6, 49 - 6),
        (0.25, 1, 50, 42 - 12, 49 - 12),
        (0.125, 1, 50, 42 - 12, 49 - 12),
    ]
    # two of ten differ by 100: a deviation of 100 sqrt(0.2 * 0.8 * 10 / 9)
    errors = [error for (error,) in told(record, "seen", "error")]
    half = 100 * (0.5 * 0.5 / 9) ** 0.5
    assert errors == pytest.approx([0, 100 * (0.2 * 0.8 / 9) ** 0.5, half, half])


def test_a_dead_group_loses_nothing(weights: Path, tmp_path: Path) -> None:
    record = run(weights, tmp_path, SensitivitySettings())
    whole = record["recalibrated"]["val_loss"]
    assert told(record, "dead", "width", "accuracy", "val_loss", "error", "macs") == [
        (width, 100, pytest.approx(whole), 0, 42 - 6 * (4 - width)) for width in (3, 2, 1, 1)
    ]


def test_what_was_stopped_goes_on_to_the_same_end(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    run(weights, tmp_path / "whole")
    calls = []
    measure = sensitivity.measure_group

    def stopping(subject: Any, group: Any, *args: Any) -> Any:
        calls.append(group.name)
        if calls == ["seen", "dead"]:
            raise KeyboardInterrupt
        return measure(subject, group, *args)

    monkeypatch.setattr(sensitivity, "measure_group", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(weights, tmp_path / "stopped")
    out = tmp_path / "stopped" / "out"
    assert [
        one["name"] for one in json.loads((out / "sensitivity.json").read_text())["groups"]
    ] == ["seen"]
    run(weights, tmp_path / "stopped")
    assert calls == ["seen", "dead", "dead"]
    for name in ("sensitivity.json", "recipe.yaml"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / "out" / name).read_bytes()
    run(weights, tmp_path / "stopped")  # all is there
    assert len(calls) == 3


def test_a_part_of_the_validation_set_is_drawn_by_the_seed(weights: Path, tmp_path: Path) -> None:
    few = SensitivitySettings(criterion="weight-norm", images=7, shares=(0.1,))
    counts = []
    for seed in range(4):
        out = tmp_path / str(seed)
        record = run_sensitivity(weights, recipe(tmp_path, seed), out, few, options=TRUSTED)
        assert record["examples"] == 7
        ((value, error),) = told(record, "seen", "accuracy", "error")
        right = round(value * 7 / 100)  # what is left tells class 0 alone, five examples of ten
        assert value == pytest.approx(100 * right / 7)
        assert error == pytest.approx(100 * (right * (7 - right) / 49 / 6) ** 0.5)
        counts.append(right)
    assert set(counts) <= {2, 3, 4, 5}
    assert counts != [5, 5, 5, 5]  # as of the first seven


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shares": (0.5,)}, r"shares was \[0.75, 0.5, 0.25, 0.125\] and is now \[0.5\]"),
        ({"criterion": "snip"}, "criterion was weight-norm and is now snip"),
    ],
)
def test_another_analysis_is_not_overwritten(
    weights: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    run(weights, tmp_path)
    before = (tmp_path / "out" / "sensitivity.json").read_bytes()
    with pytest.raises(CheckpointError, match=said):
        run(weights, tmp_path, BY_NORM.model_copy(update=change))
    assert (tmp_path / "out" / "sensitivity.json").read_bytes() == before


def test_another_network_and_other_data_are_refused(weights: Path, tmp_path: Path) -> None:
    run(weights, tmp_path)
    changed = Detectors()
    torch.nn.init.ones_(changed.head.bias)
    other = tmp_path / "other.safetensors"
    save(changed, Architecture.load(weights), other)
    with pytest.raises(CheckpointError, match="holds another analysis: it is of the network in"):
        run(other, tmp_path)
    errors = recipe(tmp_path, errors=True)
    with pytest.raises(CheckpointError, match=r"another recipe: data\.errors was False"):
        run_sensitivity(weights, errors, tmp_path / "out", BY_NORM, options=TRUSTED)


def test_folders_of_other_runs_and_damaged_ones_are_refused(weights: Path, tmp_path: Path) -> None:
    given = weights, recipe(tmp_path)
    with pytest.raises(CheckpointError, match="nothing to resume"):
        run_sensitivity(*given, tmp_path / "new", BY_NORM, resume=True, options=TRUSTED)
    assert not (tmp_path / "new").exists()
    run(weights, tmp_path)
    record = tmp_path / "out" / "sensitivity.json"
    record.write_text("[]")
    with pytest.raises(FileError, match="is damaged; delete it"):
        run(weights, tmp_path)
    record.rename(record.with_name("search.json"))
    with pytest.raises(FileError, match="already holds another run"):
        run(weights, tmp_path)
