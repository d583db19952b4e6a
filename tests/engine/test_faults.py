"""What goes wrong in training leaves the last good checkpoint as it was."""

from __future__ import annotations

import math
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torchmetrics import MetricCollection

from lwdna.engine import Metric, TrainSettings, evaluate, train
from lwdna.engine.log import read_metrics
from lwdna.errors import DataError, FileError, TrainingError
from lwdna.run_folder import best_checkpoint, last_checkpoint

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
    trained: list[object] = []
    with pytest.raises(DataError, match="validation set is empty"):
        train(
            conv_net(),
            ToyTask(eval_size=0, before_batch=trained.append),
            SETTINGS,
            tmp_path,
            seed=0,
        )
    assert not trained


class SomeFail(ToyTask):
    """Validation examples whose outcome is no number: the first ``failing``, from now on."""

    failing = 0

    def update(
        self, metrics: MetricCollection, model: nn.Module, batch: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, None]:
        outcomes, answers = super().update(metrics, model, batch)
        outcomes[: self.failing] = torch.nan
        return outcomes, answers


def test_examples_that_fail_are_counted(tmp_path: Path) -> None:
    """Of 17 examples five fail; a metric that says so counts them as its worst value."""
    task = SomeFail()
    whole = train(conv_net(), task, SETTINGS, tmp_path / "whole", seed=0)
    assert "not_finite" not in whole.metrics
    task.failing = 5
    task.metric = Metric("top1", "top-1 accuracy", worst=0.0)
    settings = SETTINGS.model_copy(update={"eval_batch_size": 17})
    some = train(conv_net(), task, settings, tmp_path / "some", seed=0)
    assert some.metrics["not_finite"] == 5
    assert some.outcomes[5:].tolist() == whole.outcomes[5:].tolist()
    assert some.outcomes[:5].tolist() == [0.0] * 5
    assert some.metrics["top1"] == pytest.approx(float(whole.outcomes[5:].sum()) / 17)
    assert [line["not_finite"] for line in read_metrics(tmp_path / "some")] == [5, 5, 5]


def test_a_metric_that_knows_no_worst_value_is_unknown(tmp_path: Path) -> None:
    task = SomeFail()
    task.failing = 1
    found = train(conv_net(), task, SETTINGS, tmp_path, seed=0)
    assert math.isnan(found.metrics["top1"])
    text = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert [line["top1"] for line in read_metrics(tmp_path)] == [None] * 3
    assert not best_checkpoint(tmp_path).exists(), "no weights are known to be the best"


def test_a_first_evaluation_without_a_value_does_not_stay_the_best(tmp_path: Path) -> None:
    task = SomeFail()
    task.failing = 17

    class Mending(ToyTask):
        def train_batches(self, *args: Any, **named: Any) -> Any:
            task.failing = 17 if named["epoch"] == 0 else 0
            return super().train_batches(*args, **named)

    task.train_batches = Mending().train_batches  # type: ignore[method-assign]
    train(conv_net(), task, SETTINGS, tmp_path, seed=0)
    lines = read_metrics(tmp_path)
    assert [line["top1"] is None for line in lines] == [True, False, False]
    with safe_open(best_checkpoint(tmp_path), "pt") as file:
        note = file.metadata()
    assert float(note["top1"]) == pytest.approx(max(line["top1"] for line in lines[1:]))


def test_a_metric_that_is_declared_but_not_computed_is_found_before_training(tmp_path: Path):
    task = ToyTask()
    task.other_metrics = (Metric("top3", "top-3 accuracy", "%"),)
    with pytest.raises(TrainingError, match=r"declares top3, but its metrics\(\) are .*top1"):
        train(conv_net(), task, SETTINGS, tmp_path / "run", seed=0)
    assert not (tmp_path / "run").exists()
    with pytest.raises(TrainingError, match="declares top3"):
        evaluate(conv_net(), task, 16)
