"""Run folders as a quickstart leaves them, made of plausible numbers instead of a training."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lwdna.engine.task import Metric, describe

TOP1 = Metric("top1", "top-1 accuracy", "%")
TOP5 = Metric("top5", "top-5 accuracy", "%")

RECIPE = """\
task: classification
model:
  name: {name}
  args: {{}}
data:
  name: folder
  root: data/images
  batch_size: 256
shrink:
  width_mult: 2.0
  budget: {{macs: 0.92, of: baseline}}
  floor: 0.4
  linear_floor: 0.45
  batches: 2
train:
  epochs: {epochs}
  optimizer: sgd
  lr: 0.1
  weight_decay: 0.0001
  schedule: cosine
seed: 0
"""


_FOUND = {
    "method": "lwdna",
    "criterion": "latent-gradient",
    "budget": {"macs": 0.92, "of": "baseline"},
    "seed": 0,
    "embedding_dim": 2,
    "versions": {"lwdna": "0.1.0", "torch": "2.8.0"},
}


@dataclass(frozen=True)
class Conv:
    """A convolution of the fake network: it makes ``group`` out of ``source`` (or the image)."""

    name: str
    group: str
    source: str | None
    kernel: int
    size: int


@dataclass(frozen=True)
class FakeNetwork:
    name: str
    widths: dict[str, int]
    convs: list[Conv]


def resnet50_like() -> FakeNetwork:
    """Sixteen bottlenecks in four stages: 37 groups, 53 convolutions."""
    widths, convs = {"conv1": 64}, [Conv("conv1", "conv1", None, 7, 112)]
    source = "conv1"
    for stage, (blocks, width, size) in enumerate(
        [(3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7)], 1
    ):
        stream = f"layer{stage}.0.conv3"
        widths[stream] = 4 * width
        for block in range(blocks):
            base = f"layer{stage}.{block}"
            inner, middle = f"{base}.conv1", f"{base}.conv2"
            widths |= {inner: width, middle: width}
            convs += [
                Conv(inner, inner, source, 1, size),
                Conv(middle, middle, inner, 3, size),
                Conv(f"{base}.conv3", stream, middle, 1, size),
            ]
            if block == 0:
                convs.append(Conv(f"{base}.downsample.0", stream, source, 1, size))
            source = stream
    return FakeNetwork("timm:resnet50", widths, convs)


def chain(depth: int, width: int, name: str = "lwdna:chain") -> FakeNetwork:
    """A plain stack of ``depth`` convolutions, as wide each."""
    convs = [
        Conv(
            f"blocks.{index}.conv",
            f"blocks.{index}.conv",
            f"blocks.{index - 1}.conv" if index else None,
            3,
            8,
        )
        for index in range(depth)
    ]
    return FakeNetwork(name, {conv.group: width for conv in convs}, convs)


def _costs(network: FakeNetwork, widths: dict[str, int]) -> list[tuple[str, str, int, int]]:
    layers = []
    for conv in network.convs:
        source = widths[conv.source] if conv.source else 3
        params = widths[conv.group] * source * conv.kernel**2
        layers.append((conv.name, "convolution", params * conv.size**2, params))
        norm = conv.name.replace("conv", "bn")
        layers.append((norm, "batch_norm", 0, 2 * widths[conv.group]))
    last = widths[network.convs[-1].group]
    layers.append(("fc", "linear", last * 1000, last * 1000 + 1000))
    return layers


def make_search(
    folder: Path, network: FakeNetwork, *, epochs: int = 12, seed: int = 0
) -> dict[str, Any]:
    """Write a search folder whose widths follow from random scores and a floor of 0.3."""
    rng = np.random.default_rng(seed)
    widened = {name: 2 * width for name, width in network.widths.items()}
    scores = {
        name: np.exp(rng.normal(-7 + 1.4 * rng.normal(), 1.1, width)).tolist()
        for name, width in widened.items()
    }
    floors = {name: math.ceil(0.3 * width) for name, width in widened.items()}
    budget = 0.92 * sum(layer[2] for layer in _costs(network, network.widths))
    for threshold in np.quantile(np.concatenate(list(scores.values())), np.linspace(0, 1, 400)):
        found = {
            name: max(sum(score >= float(threshold) for score in scores[name]), floors[name])
            for name in widened
        }
        if sum(layer[2] for layer in _costs(network, found)) <= budget:
            break
    else:
        raise AssertionError("the floors alone cost more than the budget")
    stages = {"baseline": network.widths, "widened": widened, "found": found}
    costs = {stage: _costs(network, widths) for stage, widths in stages.items()}
    record = {
        "groups": [
            {
                "name": name,
                "baseline": width,
                "widened": widened[name],
                "found": found[name],
                "floor": floors[name],
                "scores": scores[name],
            }
            for name, width in network.widths.items()
        ],
        "threshold": float(threshold),
        "layers": [
            {
                "name": name,
                "op": op,
                "macs": {stage: costs[stage][index][2] for stage in stages},
                "params": {stage: costs[stage][index][3] for stage in stages},
            }
            for index, (name, op, _, _) in enumerate(costs["baseline"])
        ],
        "cost": {stage: _total(costs[stage]) for stage in stages},
        "budget": {"macs": 0.92, "of": "baseline"},
        "criterion": "latent-gradient",
        "seconds": 12.4,
    }
    _write(folder / "search.json", record)
    (folder / "recipe.yaml").write_text(RECIPE.format(name=network.name, epochs=epochs))
    _write(folder / "architecture.lwdna.json", _architecture(network, record, found, "found"))
    return record


def make_training(
    folder: Path,
    network: FakeNetwork,
    record: dict[str, Any],
    stage: str,
    *,
    epochs: int = 12,
    top1: float = 76.15,
) -> dict[str, Any]:
    """Write the folder of one training that ends at ``top1`` percent."""
    widths = {group["name"]: group[stage] for group in record["groups"]}
    _write(folder / "architecture.lwdna.json", _architecture(network, record, widths, stage))
    (folder / "recipe.yaml").write_text(RECIPE.format(name=network.name, epochs=epochs))
    lines = []
    for epoch in range(epochs):
        part = (epoch + 1) / epochs
        line = {
            "epoch": epoch,
            "step": 5004 * (epoch + 1),
            "train_loss": 1.6
            + (5.3 if stage == "found" else 6.1) * (1 - part) ** 2
            + 0.02 * math.sin(9 * epoch),
            "lr": 0.05 * (1 + math.cos(math.pi * part)),
            "val_loss": 0.95
            + (5 if stage == "found" else 5.9) * (1 - part) ** 2
            + 0.05 * math.cos(5 * epoch),
            "top1": top1 * (1 - (1 - part) ** 2),
            "top5": min(99.0, top1 * 1.22) * (1 - (1 - part) ** 3),
            "seconds": 61.0,
            "images_per_second": 2100.0,
        }
        lines.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    results = {
        "name": "lwdna" if stage == "found" else stage,
        **describe(TOP1, TOP5),
        "top1": top1,
        "top5": min(99.0, top1 * 1.22),
        "val_loss": 0.95,
        **record["cost"][stage],
        "file_bytes": 4 * record["cost"][stage]["params"] + 40_000,
        "latency_ms": record["cost"][stage]["macs"] / 9.7e8,
        "train_seconds": 61.0 * epochs,
        "epochs": epochs,
        "seed": 0,
        "versions": {"lwdna": "0.1.0", "torch": "2.8.0"},
        "machine": {"device": "cpu", "processor": "x86_64", "threads": 2},
    }
    _write(folder / "results.json", results)
    return results


def make_job(
    folder: Path,
    network: FakeNetwork,
    *,
    epochs: int = 12,
    baseline_top1: float = 76.15,
    found_top1: float = 76.95,
) -> dict[str, Any]:
    """Write the folder of a whole job and return its search record."""
    record = make_search(folder / "search", network, epochs=epochs)
    results = {
        "baseline": make_training(
            folder / "baseline", network, record, "baseline", epochs=epochs, top1=baseline_top1
        ),
        "lwdna": make_training(
            folder / "lwdna", network, record, "found", epochs=epochs, top1=found_top1
        ),
    }
    _write(folder / "results.json", results)
    return record


def _architecture(
    network: FakeNetwork, record: dict[str, Any], widths: dict[str, int], stage: str
) -> dict[str, Any]:
    return {
        "format_version": 1,
        "model": {"name": network.name, "args": {}},
        "input_size": [3, 224, 224],
        "widths": widths,
        "baseline": record["cost"]["baseline"],
        "cost": record["cost"][stage],
        "found": _FOUND if stage == "found" else {},
    }


def _total(layers: list[tuple[str, str, int, int]]) -> dict[str, int]:
    return {"macs": sum(layer[2] for layer in layers), "params": sum(layer[3] for layer in layers)}


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A whole job on a ResNet-50-like network, 0.8 points better."""
    folder = tmp_path / "job"
    make_job(folder, resnet50_like())
    return folder


@pytest.fixture
def job_of(tmp_path: Path) -> Callable[..., Path]:
    """A maker of whole jobs on a plain stack of layers; options as of ``make_job``."""

    def make(depth: int = 3, width: int = 16, **options: Any) -> Path:
        folder = tmp_path / f"job{depth}"
        make_job(folder, chain(depth, width), **options)
        return folder

    return make
