"""Metrics over the whole validation set, each example exactly once."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import recursively_apply
from torch import Tensor, nn

from lwdna.engine import order
from lwdna.engine.device import as_channels_last, make_accelerator, prepared, share_buffers
from lwdna.engine.settings import Precision
from lwdna.engine.signals import Stop
from lwdna.engine.task import NOT_FINITE, Choices, Task
from lwdna.errors import DataError, TrainingError


class EvaluationStopped(Exception):
    """A signal asked to stop while the validation set was being gone through."""


@dataclass(frozen=True)
class Evaluation:
    """What all processes know after an evaluation."""

    metrics: dict[str, float]
    """The task's metrics by name; its ``loss`` is called ``val_loss``. How many examples have
    outputs that are not finite is called ``not_finite``, and left out if there are none."""
    outcomes: Tensor
    """Of every example, as :meth:`Task.update` gives them, in the order of their indices, float32,
    shape (N,)."""
    choices: Choices | None = None
    """Of every example, where the task tells classes: on the CPU, in the order of their indices."""


def evaluate(
    model: nn.Module,
    task: Task,
    batch_size: int,
    *,
    mixed_precision: Precision = "no",
    channels_last: bool = False,
    outputs: Path | None = None,
) -> dict[str, float]:
    """Return the metrics of ``model`` on the validation set of ``task``; see :func:`judge`."""
    return judge(
        model,
        task,
        batch_size,
        mixed_precision=mixed_precision,
        channels_last=channels_last,
        outputs=outputs,
    ).metrics


def judge(
    model: nn.Module,
    task: Task,
    batch_size: int,
    *,
    mixed_precision: Precision = "no",
    channels_last: bool = False,
    outputs: Path | None = None,
) -> Evaluation:
    """Evaluate ``model`` on the validation set of ``task``.

    Every example counts exactly once, also when the last batch is partial and when several
    processes (``accelerate launch``, ``torchrun``) share the work; all of them get the result.

    Args:
        model: moved to the device of this process; its mode (train or eval) is kept.
        task: gives data and metrics.
        batch_size: images per step, over all processes.
        mixed_precision: "no", "bf16" or "fp16".
        channels_last: whether to run images and weights in channels-last memory format.
        outputs: a folder for what the network makes of every example (restored images, say).

    Returns:
        What is known then. Of the metrics, NaN is what cannot be known. Examples with outputs that
        are not finite count as the metric's worst value; if there are any, ``not_finite`` is their
        number.

    Raises:
        DataError: the validation set is empty.
        TrainingError: the task does not compute the metrics that it declares.
    """
    check_validation(task)
    accelerator = make_accelerator(mixed_precision)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    with prepared(accelerator, model, evaluation=True) as ready:
        return run_evaluation(
            accelerator, ready, task, batch_size, channels_last=channels_last, outputs=outputs
        )


def check_validation(task: Task) -> None:
    """Make sure that a task has validation examples and computes what it declares, and its loss.

    Raises:
        DataError: the validation set is empty.
        TrainingError: a metric is missing.
    """
    if task.eval_size == 0:
        raise DataError("the validation set is empty; give one with at least one image")
    computed = [str(name) for name in task.metrics()]
    declared = [metric.name for metric in (task.metric, *task.other_metrics)]
    missing = [name for name in (*declared, "loss") if name not in computed]
    if missing:
        raise TrainingError(
            f"the task declares {', '.join(missing)}, but its metrics() are {', '.join(computed)}; "
            "add what is missing there and in update()"
        )


@torch.no_grad()
def run_evaluation(
    accelerator: Accelerator,
    model: nn.Module,
    task: Task,
    batch_size: int,
    *,
    channels_last: bool,
    outputs: Path | None = None,
    stop: Stop | None = None,
) -> Evaluation:
    """Evaluate a prepared ``model``, which must not be distributed.

    Processes run different numbers of batches, which the collective calls in the forward pass of
    a distributed network would not survive.

    Raises:
        EvaluationStopped: ``stop`` was requested and this process is the only one (several
            would first have to agree, so they go on to the end).
    """
    share_buffers(accelerator, model)
    metrics = task.metrics().to(accelerator.device)
    batches = order.eval_batches(
        task.eval_size,
        batch_size,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
    )
    outcomes = torch.zeros(task.eval_size, device=accelerator.device)
    told = torch.zeros(_TOLD, task.eval_size, device=accelerator.device)
    was_training = model.training
    model.eval()
    try:
        given = task.eval_batches(batches, device=accelerator.device)
        for indices, batch in zip(batches, given, strict=True):
            if channels_last:
                batch = recursively_apply(as_channels_last, batch)
            judged, answers = task.update(metrics, model, batch)
            outcomes[indices] = judged.to(outcomes)
            if isinstance(answers, Choices):
                told[:, indices] = _rows(answers).to(told)
            if outputs is not None:
                task.save(batch, answers, outputs)
            if stop and stop.requested and accelerator.num_processes == 1:
                raise EvaluationStopped
        with warnings.catch_warnings():
            # a process without any batch still has to take part in the sum
            warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
            values = metrics.compute()
    finally:
        model.train(was_training)
    if accelerator.num_processes > 1:  # each has filled in its own part
        outcomes = accelerator.reduce(outcomes, "sum")
        told = accelerator.reduce(told, "sum")
    renamed = {"val_loss" if name == "loss" else name: value for name, value in values.items()}
    figures = {name: float(value) for name, value in renamed.items()}
    return _without_failures(task, figures, outcomes.cpu(), _choices(told.cpu()))


_TOLD = 4
"""Rows of what is told of every example: a one, and the three parts of :class:`Choices`."""


def _rows(choices: Choices) -> Tensor:
    """Return choices as one tensor, float32, which holds classes exactly up to 2^24."""
    parts = (choices.true, choices.chosen, choices.probability)
    return torch.stack([torch.ones_like(choices.probability), *parts])


def _choices(told: Tensor) -> Choices | None:
    """Return what processes told together, if it was told of every example."""
    known, true, chosen, probability = told
    return Choices(true.long(), chosen.long(), probability) if bool(known.all()) else None


def _without_failures(
    task: Task, figures: dict[str, float], outcomes: Tensor, choices: Choices | None
) -> Evaluation:
    """Count examples whose outcome is not finite as the worst that the metric knows."""
    metric = task.metric
    failed = ~outcomes.isfinite()
    count = int(failed.sum())
    if count:
        figures[NOT_FINITE] = float(count)
        if metric.mean_of_examples:
            worst = math.nan if metric.worst is None else metric.worst
            outcomes = torch.where(failed, worst, outcomes)
            figures[metric.name] = float(outcomes.double().mean())
    return Evaluation(figures, outcomes, choices)
