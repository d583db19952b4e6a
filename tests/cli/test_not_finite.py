"""Outputs that are not finite, and images restored exactly: figures are numbers, files are JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from .command import PHOTOS, done, fault, image_folder, lwdna

NETWORKS = """
import torch
from torch import nn
from torch.nn import functional as F

class Spread(nn.Module):
    "Divides every image by its spread, which a blank one has not."
    def __init__(self, classes):
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, classes)
    def forward(self, x):
        x = (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)
        return self.head(self.first(x).relu().mean((2, 3)))

class Up(nn.Module):
    "Bicubic enlargement and nearly nothing more, which restores a white page exactly."
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 12, 3, padding=1)
        nn.init.zeros_(self.b.weight), nn.init.zeros_(self.b.bias)
    def forward(self, x):
        more = F.pixel_shuffle(self.b(self.a(x).relu()), 2)
        return (F.interpolate(x, scale_factor=2, mode="bicubic") + 0.01 * more).clamp(0, 1)

def spread(num_classes=2, **_):
    return Spread(num_classes)

def up(**_):
    return Up()
"""


@pytest.fixture(autouse=True)
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blank_networks.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)


def strict(text: str) -> Any:
    """Read JSON as readers other than Python's do."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def all_json(folder: Path) -> None:
    for path in folder.rglob("*.json"):
        strict(path.read_text())
    for path in folder.rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            strict(line)


def blank_images(root: Path) -> Path:
    """Four validation images per class, of which those of the first class are blank."""
    image_folder(root)
    for number in range(4):
        Image.new("RGB", (20, 18)).save(root / "val" / "ant" / f"{number}.png")
    return root


def test_blank_images_count_as_wrong_and_are_told(tmp_path: Path) -> None:
    data = blank_images(tmp_path / "data")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {name: 'python:blank_networks:spread'}\n")
    arguments = (recipe, *PHOTOS, "data.mean=[0,0,0]", "data.std=[1,1,1]", "--data", data)
    said = done("train", *arguments, "--out", "run", "--trust-code")
    warning = (
        "warning: For 4 of 8 validation examples the network’s output is not finite (NaN or inf); "
        "they count as the worst there is, 0.0 % top-1 accuracy."
    )
    assert warning in said.splitlines()
    results = strict(Path("run/results.json").read_text())
    assert (results["not_finite"], results["examples"]) == (4, 8)
    assert results["top1"] <= 50
    assert results["top5"] == 50
    assert results["val_loss"] > 0
    outcome = lwdna("evaluate", "run", "--json", "--out", "again", "--trust-code")
    assert outcome.code == 0
    assert warning in outcome.err.splitlines()
    found = strict(outcome.out)
    assert found["top1"] == results["top1"]
    all_json(tmp_path)
    done("report", "run")
    assert warning.removeprefix("warning: ") in Path("run/report.html").read_text()


def pages(root: Path) -> Path:
    generator = np.random.default_rng(0)
    for half in ("train", "val"):
        (root / half).mkdir(parents=True)
        for number in range(2):
            coarse = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            image = Image.fromarray(coarse.repeat(6, 0).repeat(6, 1))
            image.save(root / half / f"{number}.png")
    Image.new("RGB", (48, 48), "white").save(root / "val" / "page.png")
    return root


def test_a_page_that_is_restored_exactly(tmp_path: Path) -> None:
    data = pages(tmp_path / "data")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "task: restoration\n"
        "model: {name: 'python:blank_networks:up'}\n"
        "data: {scale: 2, patch_size: 32, patches: 16}\n"
        "train: {epochs: 1, batch_size: 8, optimizer: adam, lr: 0.001}\n"
        "shrink: {budget: {macs: 0.6, params: 1.0}}\n"
        "compare: {seeds: 2, arms: {baseline: null, uniform: null}}\n"
    )
    done("compare", recipe, "--data", data, "--out", "study", "--trust-code")
    all_json(tmp_path / "study")
    results = strict(Path("study/results.json").read_text())
    assert results["notes"] == []
    for cell in Path("study/cells").rglob("training/results.json"):
        figures = strict(cell.read_text())
        assert 20 < figures["input_psnr"] < 60
        assert 20 < figures["psnr"] < 60


def test_a_comparison_of_networks_of_which_nothing_is_known(tmp_path: Path) -> None:
    """Results written by hand: the metric of one cell is null, then that of all."""
    data = pages(tmp_path / "data")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "task: restoration\n"
        "model: {name: 'python:blank_networks:up'}\n"
        "data: {scale: 2, patch_size: 32, patches: 8}\n"
        "train: {epochs: 1, batch_size: 8}\n"
        "compare: {seeds: 2, arms: {baseline: null}}\n"
    )
    done("compare", recipe, "--data", data, "--out", "study", "--trust-code")
    cells = sorted(Path("study/cells").rglob("training/results.json"))
    for count, path in enumerate(cells, 1):
        path.write_text(json.dumps({**strict(path.read_text()), "psnr": None}))
        if count < len(cells):
            done("report", "study")
            results = strict(Path("study/results.json").read_text())
            note = "baseline seed 0 is left out: The PSNR is not a finite number."
            assert results["notes"] == [note]
            assert results["arms"]["baseline"]["seeds"] == [1]
            assert note in Path("study/report.html").read_text()
    assert "has a PSNR that is a finite number" in fault("report", "study")
