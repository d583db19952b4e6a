"""A check may end a training after a step, for good: resumed, it stays ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from lwdna.engine import EndCheck, Hooks, TrainingInterrupted, TrainResult, train

from .test_resume import STEPS, Crash, assert_same_run, at_batch, crash, interrupt, settings
from .toy import ToyTask, conv_net


def _value(model: nn.Module) -> float:
    return float(sum(parameter.detach().double().sum() for parameter in model.parameters()))


def _ended(folder: Path, looks: int = 2) -> tuple[TrainResult, float]:
    """Train until the second of the looks after every two steps; return what was seen there."""
    model, seen = conv_net(), []

    def met() -> bool:
        seen.append(_value(model))
        return len(seen) == looks

    hooks = Hooks(end_check=EndCheck(2, met))
    return train(model, ToyTask(), settings(), folder, seed=1, hooks=hooks), seen[-1]


def _never() -> None:
    raise AssertionError("a training that has ended goes on")


def _until(value: float, task: ToyTask, folder: Path, *, resume: bool = False) -> TrainResult:
    model = conv_net()
    check = EndCheck(2, lambda: _value(model) == value)
    given = settings(checkpoint_every=1)
    return train(model, task, given, folder, seed=1, resume=resume, hooks=Hooks(end_check=check))


def test_a_check_ends_a_training_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    result, _ = _ended(tmp_path)
    assert STEPS == 3
    assert (result.ended, len(result.losses), result.epochs) == (4, 4, 2)
    whole = train(conv_net(), ToyTask(), settings(), tmp_path / "whole", seed=1, steps=4)
    assert whole.ended is None
    assert_same_run(result, tmp_path, whole, tmp_path / "whole")  # evaluated at its end, too


@pytest.mark.parametrize("act", [interrupt, crash])
@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_stopped_anywhere_it_ends_at_the_same_step(
    tmp_path: Path, act: Callable[[], None], batch: int
) -> None:
    expected, value = _ended(tmp_path / "whole")
    if batch < 4:
        with pytest.raises((TrainingInterrupted, Crash)):
            _until(value, ToyTask(before_batch=at_batch(batch, act)), tmp_path / "cut")
    else:  # batch 4 is never asked for
        _until(value, ToyTask(before_batch=at_batch(4, _never)), tmp_path / "cut")
    task = ToyTask(before_batch=at_batch(4 - batch, _never))
    resumed = _until(value, task, tmp_path / "cut", resume=True)
    assert resumed.ended == 4
    assert resumed.losses == expected.losses
    assert_same_run(resumed, tmp_path / "cut", expected, tmp_path / "whole")


def test_an_ended_training_stays_ended_whatever_the_check_says_later(tmp_path: Path) -> None:
    expected, _ = _ended(tmp_path)
    task = ToyTask(before_batch=at_batch(0, _never))
    for check in (EndCheck(1, lambda: False), None):
        resumed = train(
            conv_net(),
            task,
            settings(),
            tmp_path,
            seed=1,
            resume=True,
            hooks=Hooks(end_check=check),
        )
        assert (resumed.ended, resumed.losses) == (4, expected.losses)
