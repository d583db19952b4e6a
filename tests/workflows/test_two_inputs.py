"""A recipe whose task has two inputs: search, training, evaluation and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

import lwdna
from lwdna.architecture import Architecture, save
from lwdna.cli.app import app
from lwdna.errors import ArchitectureError, ModelError
from lwdna.model_source import ModelSource
from lwdna.recipe import Recipe, load_recipe
from lwdna.run_options import RunOptions
from lwdna.workflows import evaluate_run, restore_images, run_job, run_search, run_training
from lwdna.workflows.setup import baseline_architecture
from two_inputs import SEARCH, TEMPLATE, PairSettings, PairTask

lwdna.register_task("pairs", settings=PairSettings)(PairTask)
TRUSTED = RunOptions(trust_code=True)


def _recipe(folder: Path, **data: Any) -> Recipe:
    values = {
        "task": "pairs",
        "model": {"name": "python:two_inputs:Siamese"},
        "data": data,
        "shrink": {"batch_size": 8},
        "train": {"epochs": 1, "batch_size": 8, "lr": 0.001, "channels_last": True},
    }
    file = folder / "pairs.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return load_recipe(file)


def test_the_whole_job(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path)
    report = run_job(recipe, tmp_path / "job", options=TRUSTED)
    text = report.read_text(encoding="utf-8")
    assert "template 3 × 5 × 5, search 3 × 9 × 11" in text
    results = json.loads((tmp_path / "job" / "results.json").read_text(encoding="utf-8"))
    assert results["lwdna"]["macs"] <= results["baseline"]["macs"]
    assert results["lwdna"]["params"] <= 1.5 * results["baseline"]["params"]
    assert all(one["latency_ms"] > 0 for one in results.values())
    found = Architecture.load(tmp_path / "job" / "search" / "architecture.lwdna.json")
    assert found.input_size == {"template": TEMPLATE, "search": SEARCH}
    metrics = evaluate_run(
        tmp_path / "job" / "lwdna" / "model.safetensors", recipe, options=TRUSTED
    )
    assert metrics["top1"] == results["lwdna"]["top1"]


def test_a_warm_up_and_trials_take_the_tasks_inputs(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, form="tuple")
    shrink = recipe.shrink.model_validate(
        {
            **recipe.shrink.model_dump(),
            "warmup": {"iterations": 2, "batch_size": 8, "lr": 0.001},
            "trials": {"count": 3, "length": 1},
        }
    )
    train = recipe.train.model_copy(update={"epochs": 2})
    found = run_search(
        recipe.model_copy(update={"shrink": shrink, "train": train}),
        tmp_path / "search",
        options=TRUSTED,
    )
    assert len(found.trials) == 3
    assert found.architecture.input_size == (TEMPLATE, SEARCH)


def test_an_architecture_for_another_form_of_inputs_is_refused(tmp_path: Path) -> None:
    found = run_search(_recipe(tmp_path), tmp_path / "search", options=TRUSTED)
    sizes = "of template 3x5x5, search 3x9x11, the recipe gives 3x5x5 and 3x9x11;"
    with pytest.raises(ArchitectureError, match=sizes):
        run_training(
            _recipe(tmp_path, form="tuple"),
            tmp_path / "training",
            architecture=found.architecture,
            options=TRUSTED,
        )


def test_a_recipes_baseline_keeps_the_types_of_its_inputs(tmp_path: Path) -> None:
    class WordTask(PairTask):
        def example_inputs(self) -> Any:
            return {"image": torch.zeros(1, 3, 7, 7), "word": torch.zeros(1, dtype=torch.int64)}

    recipe = _recipe(tmp_path)
    named = recipe.model.model_copy(update={"name": "python:two_inputs:Described"})
    task = WordTask(PairSettings())
    arch = baseline_architecture(recipe.model_copy(update={"model": named}), task, trust_code=True)
    assert arch.input_types == {"image": "float32", "word": "int64"}


def test_such_a_network_restores_no_images(tmp_path: Path) -> None:
    arch = Architecture.of_baseline(
        ModelSource(name="python:two_inputs:Siamese"), (TEMPLATE, SEARCH), trust_code=True
    )
    save(arch.build(trust_code=True), arch, tmp_path / "model.safetensors")
    Image.new("RGB", (9, 11)).save(tmp_path / "image.png")
    with pytest.raises(ModelError, match="takes 3x5x5 and 3x9x11, but only a network that makes"):
        restore_images(
            tmp_path / "model.safetensors",
            [tmp_path / "image.png"],
            tmp_path / "out",
            options=TRUSTED,
        )


def test_the_command_shows_all_inputs(tmp_path: Path) -> None:
    found = run_search(_recipe(tmp_path), tmp_path / "search", options=TRUSTED)
    file = str(tmp_path / "search" / "architecture.lwdna.json")
    page = tmp_path / "graph.html"
    shown = CliRunner().invoke(app, ["inspect", file, "--trust-code", "--html", str(page)])
    assert "for an input of template 3x5x5, search 3x9x11" in " ".join(shown.output.split())
    assert "template 3 × 5 × 5, search 3 × 9 × 11" in page.read_text(encoding="utf-8")
    told = CliRunner().invoke(app, ["inspect", file, "--trust-code", "--json"])
    data = json.loads(told.stdout)
    assert data["input_size"] == {"template": [3, 5, 5], "search": [3, 9, 11]}
    assert {group["name"]: group["width"] for group in data["groups"]} == found.architecture.widths
    refused = CliRunner().invoke(app, ["inspect", file, "--trust-code", "--channels", "1"])
    assert refused.exit_code == 1
    assert "leave them out" in " ".join(refused.output.split())


def test_a_network_with_two_inputs_is_not_for_the_classification_of_images(tmp_path: Path) -> None:
    found = run_search(_recipe(tmp_path), tmp_path / "search", options=TRUSTED)
    with pytest.raises(ArchitectureError, match="takes inputs of template 3x5x5, search 3x9x11"):
        run_training(
            load_recipe("digits"),
            tmp_path / "training",
            architecture=found.architecture.model_copy(
                update={"model": found.architecture.model.model_copy(update={"args": {}})}
            ),
            options=TRUSTED,
        )
