"""A warm-up and trials for the test of several processes, which call ``main``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

import lwdna
from lwdna.engine import TrainSettings
from lwdna.methods import ShrinkSettings, Trained, TrialSetup, WarmupRun, search
from lwdna.methods.settings import TrialSettings, WarmupSettings
from lwdna.methods.warmup import task_of


def _network() -> nn.Sequential:
    torch.manual_seed(7)
    return nn.Sequential(  # without normalisation, whose statistics are each process's own
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 10, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(10, 3),
    )


def _loss(network: nn.Module, batch: Any) -> torch.Tensor:
    return nn.functional.cross_entropy(network(batch[0]), batch[1])


def run(folder: Path) -> dict[str, Any]:
    """Search after a warm-up with proximal steps, and with trials; return what was found here."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(24, 3, 8, 8, generator=generator)
    labels = torch.randint(3, (24,), generator=generator)
    batches = [(images[:12], labels[:12]), (images[12:], labels[12:])]
    common = ShrinkSettings(budget=lwdna.Budget(macs=0.7), floor=0.2, linear_floor=0.2)
    warmup = {
        "criterion": "latent-gradient",
        "warmup": WarmupSettings(
            epochs=2.5, batch_size=7, lr=0.05, penalty={"kind": "l1", "weight": 0.1}
        ),
        "inherit": True,
    }
    sparse = {
        "criterion": "weight-norm",
        "width_mult": 1.0,
        "warmup": WarmupSettings(
            epochs=2.5,
            batch_size=7,
            lr=0.05,
            penalty=[
                {"kind": "l1", "weight": 0.2, "anneal": {"at": [30, 5]}, "balance": "mean-norm"},
                {"kind": "growing", "weight": 0.3, "growth": 0.1, "every": 2, "by": "gradient"},
                {"kind": "group-norm", "weight": 0.1, "by": "gradient"},
            ],
        ),
    }
    trials = {"trials": TrialSettings(count=12)}  # the last two rest on losses
    given = (_network(), images[:1], batches, _loss)
    task = task_of(batches, _loss)
    warmup_run = WarmupRun(task, folder)
    setup = TrialSetup(task, TrainSettings(epochs=3, batch_size=7), folder / "trials")
    found = search(*given, common.model_copy(update=warmup), seed=3, warmup_run=warmup_run)
    vanished = search(
        *given,
        common.model_copy(update=sparse),
        seed=3,
        trained=Trained(_network()),
        warmup_run=WarmupRun(task, folder / "sparse"),
    )
    tried = search(*given, common.model_copy(update=trials), seed=3, trial_setup=setup)
    assert found.network is not None
    return {
        "tried": [trial.widths for trial in tried.trials] + [tried.architecture.widths],
        "losses": [trial.loss for trial in tried.trials],
        "widths": found.architecture.widths,
        "scores": {name: scores.tolist() for name, scores in found.scores.items()},
        "sparse": {name: scores.tolist() for name, scores in vanished.scores.items()},
        "weights": {n: t.norm().item() for n, t in found.network.state_dict().items()},
    }


def main(folder: Path) -> None:
    """Run the searches and write down what this process found."""
    torch.set_num_threads(1)
    found = run(folder / "warmup")
    state = PartialState()
    (folder / f"process{state.process_index}.json").write_text(json.dumps(found))
    state.destroy_process_group()
