"""ResNet-50 on a folder of a thousand classes, by four processes: the command line's whole path."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launch import in_processes, lwdna
from lwdna import Architecture

from .command import done

CLASSES = 1000
SETTINGS = (
    "data.image_size=32",
    "data.workers=0",
    "data.scan=false",
    "data.in_memory=false",
    "shrink.batches=1",
    "shrink.batch_size=4",
    "shrink.width_mult=1.0",
    "shrink.budget={macs: 0.5}",
    "train.batch_size=8",
    "train.warmup_epochs=0",
    "train.lr=0.01",
    "train.epochs=1",
    "train.eval_batch_size=64",
)


@pytest.mark.slow
def test_resnet50_is_shrunk_and_trained_on_four_processes(tmp_path: Path) -> None:
    data, run = tmp_path / "imagenet", tmp_path / "run"
    write_classes(data)
    common = ("--model", "timm:resnet50", "--data", data, *SETTINGS)
    done("shrink", "images", *common, "data.train_limit=1", "--out", tmp_path / "search")
    file = tmp_path / "search" / "architecture.lwdna.json"
    found = Architecture.load(file)
    assert found.cost.macs <= 0.5 * found.baseline.macs
    train = ["train", "images", *common, "--architecture", file, "--out", run]
    in_processes(4, lwdna, [*map(str, train), "train.batch_size=500"])
    results = json.loads((run / "results.json").read_text())
    assert results["macs"] == found.cost.macs
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 2, "a thousand images in two batches of four shares"


def write_classes(root: Path) -> None:
    """Write a JPEG file of random pixels per class to train on, for every tenth one to validate."""
    generator = np.random.default_rng(0)
    images = [
        Image.fromarray(generator.integers(0, 256, (41, 53, 3), dtype=np.uint8)) for _ in range(7)
    ]
    for label in range(CLASSES):
        for split in ("train",) if label % 10 else ("train", "val"):
            folder = root / split / f"n{label:08d}"
            folder.mkdir(parents=True)
            images[label % 7].save(folder / "image.jpg")
