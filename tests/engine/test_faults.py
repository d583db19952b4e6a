"""What goes wrong in training leaves the last good checkpoint as it was."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lwdna.engine import Metric, TrainSettings, evaluate, train
from lwdna.errors import DataError, FileError, TrainingError
from lwdna.run_folder import last_checkpoint

from .test_resume import assert_same_run, at_batch
from .toy import ToyTask, conv_net

SETTINGS = TrainSettings(epochs=3, batch_size=16)


class Diverging(ToyTask):
    """Gives a loss that is not finite at one step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.steps_left = step

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.steps_left -= 1
        loss = super().loss(model, batch)
        return loss * float("nan") if self.steps_left < 0 else loss


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        train(conv_net(), Diverging(step=4), SETTINGS, tmp_path, seed=0)
    message = str(caught.value)
    assert "the loss (nan) is not finite in epoch 2, step 2 of 3" in message
    assert "learning rate 0.0" in message
    assert f"kept at {last_checkpoint(tmp_path)}" in message
    assert "\n" not in message

    weights = load_file(last_checkpoint(tmp_path))
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    resumed = train(conv_net(), ToyTask(), SETTINGS, tmp_path, seed=0, resume=True)
    expected = train(conv_net(), ToyTask(), SETTINGS, tmp_path / "whole", seed=0)
    assert_same_run(resumed, tmp_path, expected, tmp_path / "whole")


def test_diverging_before_any_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint had been written yet"):
        train(conv_net(), Diverging(step=1), SETTINGS, tmp_path, seed=0)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    class LastGradientExplodes(ToyTask):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            loss = super().loss(model, batch)
            loss.register_hook(lambda gradient: gradient * float("inf"))
            return loss

    one_step = TrainSettings(epochs=2, batch_size=50)
    with pytest.raises(TrainingError, match="a weight is not finite in epoch 1"):
        train(conv_net(), LastGradientExplodes(), one_step, tmp_path, seed=0)
    assert not last_checkpoint(tmp_path).exists()


@contextmanager
def full_disk(limit: int = 3000) -> Iterator[None]:
    """Let no file grow beyond ``limit`` bytes; small ones still fit, as on a nearly full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = train(conv_net(), ToyTask(), SETTINGS, whole, seed=0)
    with ExitStack() as stack:
        fills_up = at_batch(4, lambda: stack.enter_context(full_disk()))
        with pytest.raises(FileError, match=r"cannot write .*\.safetensors: .*free some space"):
            train(conv_net(), ToyTask(before_batch=fills_up), SETTINGS, cut, seed=0)
    names = {path.name for path in (cut / "checkpoints").iterdir()}
    assert names == {"last.safetensors", "best.safetensors"}, "temporary files are cleaned up"
    resumed = train(conv_net(), ToyTask(), SETTINGS, cut, seed=0, resume=True)
    assert_same_run(resumed, cut, expected, whole)


def test_a_disk_too_full_for_the_log(tmp_path: Path) -> None:
    with ExitStack() as stack:
        fills_up = at_batch(4, lambda: stack.enter_context(full_disk(limit=0)))
        with pytest.raises(FileError, match="free some space"):
            train(conv_net(), ToyTask(before_batch=fills_up), SETTINGS, tmp_path, seed=0)
    train(conv_net(), ToyTask(), SETTINGS, tmp_path, seed=0, resume=True)


def test_empty_sets(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="training set is empty"):
        train(conv_net(), ToyTask(train_size=0), SETTINGS, tmp_path, seed=0)
    with pytest.raises(DataError, match="validation set is empty"):
        train(conv_net(), ToyTask(eval_size=0), SETTINGS, tmp_path, seed=0)


def test_a_metric_that_is_declared_but_not_computed_is_found_before_training(tmp_path: Path):
    task = ToyTask()
    task.other_metrics = (Metric("top3", "top-3 accuracy", "%"),)
    with pytest.raises(TrainingError, match=r"declares top3, but its metrics\(\) are .*top1"):
        train(conv_net(), task, SETTINGS, tmp_path / "run", seed=0)
    assert not (tmp_path / "run").exists()
    with pytest.raises(TrainingError, match="declares top3"):
        evaluate(conv_net(), task, 16)
