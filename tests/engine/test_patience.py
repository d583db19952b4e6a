"""A training may stop early, and go on to more epochs, as exactly as any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lwdna.engine import TrainingInterrupted, train
from lwdna.errors import CheckpointError
from lwdna.weights import read_tensors

from .test_resume import Crash, assert_same_run, at_batch, crash, history, interrupt, settings
from .toy import ToyTask, conv_net

WILD = {"epochs": 9, "lr": 1.0}
"""So large a learning rate that epoch 3 is the best for a while."""


def _patient(folder: Path, resume: bool = False, task: ToyTask | None = None, **given: object):  # type: ignore[no-untyped-def]
    chosen = settings(**WILD, patience=2, **given)
    return train(conv_net(), task or ToyTask(), chosen, folder, seed=1, resume=resume)


def test_it_stops_after_the_best_epoch_and_keeps_that(tmp_path: Path) -> None:
    """The schedule is that of all epochs: up to its end every line is that of the whole run."""
    train(conv_net(), ToyTask(), settings(**WILD), tmp_path / "whole", seed=1)
    result = _patient(tmp_path / "short")
    values = [line["top1"] for line in history(tmp_path / "whole")]
    assert max(values[:2]) < values[2] == values[3] == values[4]  # as good is not better
    assert max(values) > values[2]  # which nobody waits for
    assert history(tmp_path / "short") == history(tmp_path / "whole")[:5]
    assert (result.epochs, result.best_epoch, result.ended) == (5, 3, 15)
    assert result.metrics["top1"] == values[2] == pytest.approx(result.outcomes.mean().item())
    kept = read_tensors(tmp_path / "short" / "checkpoints" / "best.safetensors")[0]
    own = result.model.state_dict()
    assert all(torch.equal(own[name], kept[name]) for name in own)


@pytest.mark.parametrize("act", [interrupt, crash])
@pytest.mark.parametrize("batch", [7, 9, 13])
def test_stopped_anywhere_it_ends_with_the_same_weights(
    tmp_path: Path, act: Callable[[], None], batch: int
) -> None:
    expected = _patient(tmp_path / "whole")
    with pytest.raises((TrainingInterrupted, Crash)):
        _patient(tmp_path / "cut", task=ToyTask(before_batch=at_batch(batch, act)))
    resumed = _patient(tmp_path / "cut", resume=True)
    assert_same_run(resumed, tmp_path / "cut", expected, tmp_path / "whole")
    again = _patient(tmp_path / "cut", resume=True)
    assert (again.epochs, again.metrics) == (5, expected.metrics)
    with pytest.raises(CheckpointError, match="eval_every was 1 and is now 2"):
        _patient(tmp_path / "cut", resume=True, eval_every=2)


@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_more_epochs_are_those_of_a_longer_run(tmp_path: Path, schedule: str) -> None:
    given = {"schedule": schedule, "decay_epochs": 1.4, "warmup_epochs": 1, "ema": 0.9}
    runs = {}
    for name, lengths in (("whole", [5]), ("longer", [2, 5])):
        for epochs in lengths:
            chosen = settings(epochs=epochs, **given)
            task, resume = ToyTask(), epochs != lengths[0]
            runs[name] = train(conv_net(), task, chosen, tmp_path / name, seed=1, resume=resume)
    assert_same_run(runs["longer"], tmp_path / "longer", runs["whole"], tmp_path / "whole")


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ({}, {"epochs": 5}, "of a cosine over 5 epochs"),
        ({"schedule": "step"}, {"schedule": "step", "epochs": 2}, "3 epochs cannot become 2"),
        (
            {"schedule": "step", "warmup_epochs": 2},
            {"schedule": "step", "warmup_epochs": 2, "epochs": 5},
            "the warm-up would have been longer",
        ),
    ],
)
def test_what_cannot_go_on_exactly(
    before: dict[str, object], after: dict[str, object], why: str
) -> None:
    found = settings(**after).obstacle(settings(**before).epochs)
    assert found is not None
    assert why in found
