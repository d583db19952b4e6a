"""A run that was stopped and resumed cannot be told from one that was not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lwdna.engine import TrainingInterrupted, TrainResult, TrainSettings, train
from lwdna.errors import CheckpointError
from lwdna.run_folder import last_checkpoint

from .toy import ToyTask, conv_net

EPOCHS, STEPS = 3, 3  # 50 images in batches of 16

PROTOCOLS = {
    "sgd": {},
    "adamw": {"optimizer": "adamw", "lr": 0.01, "ema": 0.9, "accumulate": 3},
    "rmsprop": {
        "optimizer": "rmsproptf",
        "lr": 0.01,
        "schedule": "step",
        "decay_epochs": 0.7,
        "channels_last": True,
        "clip_grad": 0.5,
        "mixed_precision": "bf16",
    },
    "adam": {"optimizer": "adam", "lr": 0.01, "channels_last": True, "warmup_epochs": 1.5},
}


class Crash(Exception):
    pass


def settings(**given: Any) -> TrainSettings:
    return TrainSettings(**{"epochs": EPOCHS, "batch_size": 16, **given})


def at_batch(number: int, act: Callable[[], None]) -> Callable[[Sequence[int]], None]:
    """Return a hook that calls ``act`` before training batch ``number``, counted from 0."""
    count = iter(range(10**6))

    def hook(indices: Sequence[int]) -> None:
        if next(count) == number:
            act()

    return hook


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def crash() -> None:
    raise Crash


def history(run_dir: Path) -> list[dict[str, float]]:
    lines = [json.loads(text) for text in (run_dir / "metrics.jsonl").read_text().splitlines()]
    timings = {"seconds", "images_per_second"}
    return [{k: v for k, v in line.items() if k not in timings} for line in lines]


def assert_same_run(
    result: TrainResult, run_dir: Path, expected: TrainResult, expected_dir: Path
) -> None:
    assert history(run_dir) == history(expected_dir)
    assert result.metrics == expected.metrics
    assert torch.equal(result.outcomes, expected.outcomes)
    assert result.choices is not None
    assert expected.choices is not None
    assert torch.equal(result.choices.chosen, expected.choices.chosen)
    own, other = result.model.state_dict(), expected.model.state_dict()
    assert list(own) == list(other)
    assert all(torch.equal(own[name], other[name]) for name in own)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("batch", [0, 4, 5, 8])
def test_interrupted_anywhere(tmp_path: Path, protocol: str, batch: int) -> None:
    chosen = settings(**PROTOCOLS[protocol])
    expected = train(conv_net(), ToyTask(), chosen, tmp_path / "whole", seed=1)

    parts = chosen.accumulate
    task = ToyTask(before_batch=at_batch(batch * parts, interrupt))
    with pytest.raises(TrainingInterrupted, match="saved to"):
        train(conv_net(), task, chosen, tmp_path / "cut", seed=1)
    resumed = train(conv_net(), ToyTask(), chosen, tmp_path / "cut", seed=1, resume=True)

    assert_same_run(resumed, tmp_path / "cut", expected, tmp_path / "whole")


@pytest.mark.parametrize("batch", [3, 5, 7])
def test_crashed_anywhere(tmp_path: Path, batch: int) -> None:
    chosen = settings(checkpoint_every=2)
    expected = train(conv_net(), ToyTask(), chosen, tmp_path / "whole", seed=1)
    task = ToyTask(before_batch=at_batch(batch, crash))
    with pytest.raises(Crash):
        train(conv_net(), task, chosen, tmp_path / "cut", seed=1)
    resumed = train(conv_net(), ToyTask(), chosen, tmp_path / "cut", seed=1, resume=True)
    assert_same_run(resumed, tmp_path / "cut", expected, tmp_path / "whole")


def test_crash_between_log_and_checkpoint_repeats_no_line(tmp_path: Path) -> None:
    expected = train(conv_net(), ToyTask(), settings(), tmp_path / "whole", seed=1)
    task = ToyTask(before_batch=at_batch(2 * STEPS, crash))
    with pytest.raises(Crash):
        train(conv_net(), task, settings(), tmp_path / "cut", seed=1)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "step": 9, "train_loss": 1e9}\n{"epoch": 4, "st')
    resumed = train(conv_net(), ToyTask(), settings(), tmp_path / "cut", seed=1, resume=True)
    assert_same_run(resumed, tmp_path / "cut", expected, tmp_path / "whole")


def test_interrupted_in_evaluation(tmp_path: Path) -> None:
    class Interrupting(ToyTask):
        def update(self, *args: Any) -> tuple[Tensor, None]:
            judged = super().update(*args)
            interrupt()
            return judged

    chosen = settings(eval_batch_size=4)
    expected = train(conv_net(), ToyTask(), chosen, tmp_path / "whole", seed=1)
    task = Interrupting()
    with pytest.raises(TrainingInterrupted):
        train(conv_net(), task, chosen, tmp_path / "cut", seed=1)
    assert len(task.seen) == 4, "a long evaluation must not hold up a wish to stop"
    resumed = train(conv_net(), ToyTask(), chosen, tmp_path / "cut", seed=1, resume=True)
    assert_same_run(resumed, tmp_path / "cut", expected, tmp_path / "whole")


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        interrupt()
        interrupt()

    task = ToyTask(before_batch=at_batch(0, twice))
    with pytest.raises(KeyboardInterrupt) as caught:
        train(conv_net(), task, settings(), tmp_path, seed=1)
    assert not isinstance(caught.value, TrainingInterrupted)
    assert not last_checkpoint(tmp_path).exists()


def test_signal_handlers_are_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(conv_net(), ToyTask(), settings(epochs=1), tmp_path, seed=1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    done = train(conv_net(), ToyTask(), settings(), tmp_path, seed=1)
    task = ToyTask(before_batch=at_batch(0, crash))
    again = train(conv_net(), task, settings(), tmp_path, seed=1, resume=True)
    assert_same_run(again, tmp_path, done, tmp_path)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(conv_net(), ToyTask(), settings(), tmp_path, seed=1, resume=True)


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    train(conv_net(), ToyTask(), settings(epochs=1), tmp_path, seed=1)
    with pytest.raises(CheckpointError, match="already holds a run"):
        train(conv_net(), ToyTask(), settings(epochs=1), tmp_path, seed=1)


def test_checkpoint_of_another_network(tmp_path: Path) -> None:
    train(conv_net(), ToyTask(), settings(epochs=1), tmp_path, seed=1)
    wider = conv_net()
    wider[0] = nn.Conv2d(3, 9, 3, padding=1)
    with pytest.raises(CheckpointError, match=r"another network: 0\.weight is 8x3x3x3 in the file"):
        train(wider, ToyTask(), settings(epochs=1), tmp_path, seed=1, resume=True)
    with pytest.raises(CheckpointError, match=r"1\.weight is not in the network.*and 2 more"):
        train(conv_net(norm=False), ToyTask(), settings(epochs=1), tmp_path, seed=1, resume=True)


def test_other_settings_cannot_continue_a_run(tmp_path: Path) -> None:
    train(conv_net(), ToyTask(), settings(), tmp_path, seed=1)
    with pytest.raises(CheckpointError, match=r"lr was 0\.1 and is now 0\.2"):
        train(conv_net(), ToyTask(), settings(lr=0.2), tmp_path, seed=1, resume=True)
    with pytest.raises(CheckpointError, match="seed was 1 and is now 2"):
        train(conv_net(), ToyTask(), settings(), tmp_path, seed=2, resume=True)
    train(conv_net(), ToyTask(), settings(eval_batch_size=3), tmp_path, seed=1, resume=True)


def test_damaged_checkpoint(tmp_path: Path) -> None:
    train(conv_net(), ToyTask(), settings(epochs=1), tmp_path, seed=1)
    path = last_checkpoint(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="cannot read checkpoint"):
        train(conv_net(), ToyTask(), settings(epochs=1), tmp_path, seed=1, resume=True)
    path.write_bytes((tmp_path / "checkpoints" / "best.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="not a training checkpoint"):
        train(conv_net(), ToyTask(), settings(epochs=1), tmp_path, seed=1, resume=True)
