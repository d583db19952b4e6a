"""A step recorded as a CUDA graph trains as one that is launched kernel by kernel."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from lwdna.engine import TrainingInterrupted, TrainResult, TrainSettings, train
from lwdna.errors import TrainingError

from .toy import ToyTask, conv_net


def run(folder: Path, model: nn.Module | None = None, **given: Any) -> TrainResult:
    """Train for ten steps, more than a graph needs before it is recorded."""
    chosen = TrainSettings(**{"epochs": 2, "batch_size": 16, "lr": 0.2, **given})
    return train(model or conv_net(), ToyTask(train_size=80), chosen, folder, seed=3)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"mixed_precision": "bf16", "channels_last": True},
        {"mixed_precision": "fp16"},
        {"clip_grad": 0.1, "ema": 0.9},
        {"optimizer": "adamw", "lr": 0.01},
    ],
    ids=str,
)
def test_a_graph_changes_no_loss(tmp_path: Path, given: dict[str, Any]) -> None:
    """Dropout included: its numbers are drawn anew in every replay, from the step's seed."""
    plain = run(tmp_path / "plain", **given)
    graph = run(tmp_path / "graph", cuda_graph=True, **given)
    tolerance = 1e-2 if "mixed_precision" in given else 1e-3
    assert len(set(plain.losses)) == 10
    assert graph.losses == pytest.approx(plain.losses, rel=tolerance)
    assert graph.metrics["val_loss"] == pytest.approx(plain.metrics["val_loss"], rel=tolerance)


@pytest.mark.gpu
def test_a_run_with_a_graph_goes_on(tmp_path: Path) -> None:
    chosen = TrainSettings(epochs=4, batch_size=16, lr=0.2, cuda_graph=True)
    whole = train(conv_net(), ToyTask(train_size=80), chosen, tmp_path / "whole", seed=3)
    batches = iter(range(20))

    def stop_at_the_ninth(indices: Sequence[int]) -> None:
        if next(batches) == 8:
            os.kill(os.getpid(), signal.SIGINT)

    task = ToyTask(train_size=80, before_batch=stop_at_the_ninth)
    with pytest.raises(TrainingInterrupted):
        train(conv_net(), task, chosen, tmp_path / "cut", seed=3)
    again = train(conv_net(), ToyTask(train_size=80), chosen, tmp_path / "cut", seed=3, resume=True)
    assert again.losses == pytest.approx(whole.losses, rel=1e-3)


@pytest.mark.gpu
def test_a_step_that_looks_at_values_cannot_be_recorded(tmp_path: Path) -> None:
    class Looking(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values * float(values.mean())

    with pytest.raises(TrainingError, match=r"train\.cuda_graph=false"):
        run(tmp_path / "graph", nn.Sequential(Looking(), *conv_net()), cuda_graph=True)
    run(tmp_path / "after")  # random numbers are still to be had


def test_without_a_gpu_nothing_changes(tmp_path: Path) -> None:
    plain, graph = run(tmp_path / "plain"), run(tmp_path / "graph", cuda_graph=True)
    assert graph.losses == plain.losses
