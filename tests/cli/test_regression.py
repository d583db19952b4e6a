"""Values of images from a table to a prediction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lwdna
from lwdna.files import read_json

from .command import done, fault

GIVEN = (
    "regression", "--model", "lwdna:resnet8_digits", "data.image_size=16", "data.workers=0",
    "data.targets=[brightness]", "shrink.batch_size=8", "train.epochs=2", "train.batch_size=8",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images of 24 levels, and how bright they are."""
    root = tmp_path_factory.mktemp("values")
    lines = ["file,brightness,split"]
    for level in range(24):
        pixels = np.full((16, 16, 3), 10 * level, dtype=np.uint8)
        pixels[level % 16] = 255 - 10 * level
        Image.fromarray(pixels).save(root / f"{level}.png")
        lines.append(f"{level}.png,{1000 + 3 * level},{'val' if level % 3 == 2 else 'train'}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def job(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("job") / "values"
    told = done("quickstart", *GIVEN, "--data", data, "--out", folder)
    assert "16 images to train on and 8 to validate on, value brightness" in told
    assert "mean absolute error" in told
    return folder


def test_the_figures_are_those_of_the_predictions(job: Path, data: Path) -> None:
    found = job / "lwdna"
    results = read_json(found / "results.json")
    told = json.loads(done("predict", data, "--weights", found, "--json"))
    assert len(told) == 24
    values = {Path(one["image"]).stem: one["values"]["brightness"] for one in told}
    errors = [abs(values[str(level)] - 1000 - 3 * level) for level in range(2, 24, 3)]
    assert results["mae"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert results["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-4)
    assert f"{values['5']:.5g}" in done("predict", data / "5.png", "--weights", found)
    interface = lwdna.read_interface(found / "model.safetensors")
    assert interface.targets
    assert interface.targets[0].model_dump() == results["targets"][0]
    assert interface.classes is None


def test_another_training_half_keeps_the_networks_scale(job: Path, data: Path) -> None:
    """A third of the training images has another mean; the network's outputs mean what they did."""
    results = read_json(job / "lwdna" / "results.json")
    again = json.loads(done("evaluate", job / "lwdna", "data.train_limit=5", "--json"))
    assert again["mae"] == pytest.approx(results["mae"], rel=1e-5)


def test_reports_and_comparisons(job: Path) -> None:
    page = (job / "report.html").read_text()
    assert "mean absolute error" in page
    recipe = job / "baseline" / "recipe.yaml"
    done(
        "compare",
        recipe,
        "train.epochs=1",
        "--arms",
        "baseline,random",
        "--seeds",
        1,
        "--out",
        "study",
    )
    results = read_json(Path("study/results.json"))
    assert results["metric"] == "mae"
    assert results["examples"] == 8


def test_what_does_not_go_together(job: Path, data: Path) -> None:
    line = fault("train", *GIVEN, "--data", data, "data.classes=2")
    assert "a regression has no classes" in line
    assert "there is no labels.csv in" in fault("train", *GIVEN, "--data", job)
    given = ("images", "--data", data, "data.image_size=16")
    assert "task=regression" in fault("train", *given, "--model", "lwdna:resnet8_digits")
