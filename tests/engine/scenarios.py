"""Runs for the tests of several processes, which call ``main``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from lwdna.engine import EndCheck, Hooks, TrainSettings, evaluate, read_metrics, train

from .toy import ToyTask, conv_net

SCENARIOS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"accumulate": 3},
    "norm": {"norm": True},
    "uneven": {"batch_size": 15, "train_size": 31, "eval_size": 5},
    "idle": {"eval_size": 1},
    "ended": {"ends": 4},
    "patient": {"patience": 1, "epochs": 4},
}


def run(name: str, run_dir: Path) -> dict[str, Any]:
    """Train the toy network as the scenario says; return what this process found."""
    given = SCENARIOS[name]
    settings = TrainSettings(
        epochs=given.get("epochs", 2),
        batch_size=given.get("batch_size", 16),
        eval_batch_size=4,
        clip_grad=1.0,
        accumulate=given.get("accumulate", 1),
        patience=given.get("patience"),
    )
    task = ToyTask(given.get("train_size", 50), given.get("eval_size", 17))
    model = conv_net(norm=given.get("norm", False), dropout=0.0)
    looks = iter([False, "ends" in given and PartialState().is_main_process])
    check = EndCheck(2, lambda: next(looks)) if "ends" in given else None
    result = train(model, task, settings, run_dir, seed=0, hooks=Hooks(end_check=check))
    if "patience" not in given:  # what the first process finds counts for all
        assert result.ended == given.get("ends")
    resumed = train(conv_net(norm="norm" in given), task, settings, run_dir, seed=0, resume=True)
    task.seen.clear()
    return {
        "trained": result.metrics,
        "resumed": resumed.metrics,
        "outcomes": result.outcomes.tolist(),
        "resumed_outcomes": resumed.outcomes.tolist(),
        "losses": [line["train_loss"] for line in read_metrics(run_dir)],
        "weights": {n: t.double().norm().item() for n, t in model.state_dict().items()},
        "evaluated": evaluate(model, task, 4),
        "seen": task.seen,
    }


def main(folder: Path) -> None:
    """Run all scenarios and write down what this process found."""
    torch.set_num_threads(1)
    found = {name: run(name, folder / name) for name in SCENARIOS}
    state = PartialState()
    (folder / f"process{state.process_index}.json").write_text(json.dumps(found))
    state.destroy_process_group()
