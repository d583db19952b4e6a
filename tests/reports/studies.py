"""Folders of comparisons as ``lwdna compare`` leaves them, made of outcomes given by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file

from lwdna.engine.task import Metric, describe

Outcomes = Mapping[int, Sequence[float]]
"""Outcomes of all examples by seed."""


@dataclass(frozen=True)
class Arm:
    """What the trainings of one arm left; all of them share widths and costs."""

    outcomes: Outcomes
    widths: Mapping[str, int]
    macs: int = 1000
    latency_ms: float = 1.0
    train_seconds: float = 60.0
    search_seconds: float = 0.0
    trials: Mapping[str, float] | None = None
    """What the recipe says of trials."""
    shared: bool = False
    """Whether all seeds share one search."""
    kept_baseline: bool | None = None
    """Whether the law kept the baseline; without a law None."""


def make_study(
    folder: Path,
    metric: Metric,
    arms: Mapping[str, Arm],
    *,
    seeds: int,
    values: Mapping[tuple[str, int], float] | None = None,
    budget: Mapping[str, float] | None = None,
) -> Path:
    """Write the folder of a comparison; the recipe's task is known to nobody who reads it.

    Args:
        folder: to write.
        metric: the primary one.
        arms: by name, ``baseline`` among them.
        seeds: how many are planned; only those of which an arm has outcomes are finished.
        values: the metric by arm and seed, where it is not the mean of the outcomes.
        budget: what the recipe says of it, if anything.
    """
    recipe = {
        "task": "scoring",
        "model": {"name": "lwdna:chain", "args": {}},
        "data": {"table": "scores.csv"},
        "compare": {
            "seeds": seeds,
            "arms": {name: {} if name == "baseline" else {"floor": 0.3} for name in arms},
        },
        "seed": 0,
        **({"shrink": {"budget": dict(budget)}} if budget else {}),
    }
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    for name, arm in arms.items():
        for seed, outcomes in arm.outcomes.items():
            cell = folder / "cells" / name / f"seed{seed}"
            value = (values or {}).get((name, seed), float(np.mean(outcomes)))
            _training(cell / "training", metric, arm, outcomes, value)
            if name != "baseline":
                law = None if arm.kept_baseline is None else {"kept_baseline": arm.kept_baseline}
                place = (cell.parent if arm.shared else cell) / "search"
                _write(place / "search.json", {"seconds": arm.search_seconds, "law": law})
    return folder


def _training(
    folder: Path, metric: Metric, arm: Arm, outcomes: Sequence[float], value: float
) -> None:
    results = {
        **describe(metric),
        metric.name: value,
        "macs": arm.macs,
        "params": 7 * arm.macs,
        "latency_ms": arm.latency_ms,
        "train_seconds": arm.train_seconds,
        "versions": {"lwdna": "0.1.0"},
    }
    _write(folder / "results.json", results)
    architecture = {
        "format_version": 1,
        "model": {"name": "lwdna:chain", "args": {}},
        "input_size": [3, 8, 8],
        "widths": dict(arm.widths),
        "baseline": {"macs": 1000, "params": 7000},
        "cost": {"macs": arm.macs, "params": 7 * arm.macs},
        "found": {"trials": arm.trials and dict(arm.trials)},
    }
    _write(folder / "architecture.lwdna.json", architecture)
    tensors = {metric.name: np.array(outcomes, dtype=np.float32)}
    save_file(tensors, folder / "outcomes.safetensors")


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
