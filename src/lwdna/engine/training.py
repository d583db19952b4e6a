"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
from accelerate.utils import broadcast_object_list, recursively_apply
from torch import Tensor, nn

from lwdna.channels.proof.padding import Padding
from lwdna.engine import order
from lwdna.engine.best import keep, restore_best
from lwdna.engine.compiling import compile_errors
from lwdna.engine.device import as_channels_last
from lwdna.engine.display import Display, display
from lwdna.engine.evaluation import EvaluationStopped, check_validation, run_evaluation
from lwdna.engine.hooks import Hooks
from lwdna.engine.log import RunLog, open_log
from lwdna.engine.optim import learning_rate
from lwdna.engine.settings import TrainSettings
from lwdna.engine.signals import Stop, TrainingInterrupted, stop_on_signal
from lwdna.engine.state import Run, check_weights, not_finite, open_run, save
from lwdna.engine.step_graph import StepGraph
from lwdna.engine.task import Batch, Choices, Task
from lwdna.engine.trackers import Tracking

_LOOK_EVERY = 20
"""Steps between looks at the losses on an accelerator, where every look waits for the device."""


@dataclass(frozen=True)
class TrainResult:
    """What a finished run hands back."""

    model: nn.Module
    """The trained network in eval mode: the moving average if there is one."""
    metrics: dict[str, float]
    """The last evaluation: the task's metrics by name, its loss as ``val_loss``. With a
    ``patience`` model, metrics and outcomes are those of the best one."""
    outcomes: Tensor
    """The last evaluation: the outcome of every validation example, shape (N,)."""
    choices: Choices | None
    """The last evaluation: the class chosen for every validation example, where there is one."""
    seconds: float
    """Time of training and evaluation, over all sittings of a resumed run."""
    epochs: int
    losses: tuple[float, ...]
    """Training loss of every optimizer step, over all sittings of a resumed run."""
    ended: int | None = None
    """After how many steps a check or its patience ended it, if one did."""
    best_epoch: int | None = None
    """The epoch whose weights ``model`` has, in a run that may stop early."""
    padding: Padding | None = None
    """Which widths were larger in memory; those of ``model`` are its own."""


def train(
    model: nn.Module,
    task: Task,
    settings: TrainSettings,
    run_dir: str | Path,
    *,
    seed: int,
    resume: bool = False,
    progress: bool = False,
    first_step: int = 0,
    steps: int | None = None,
    evaluate: bool = True,
    hooks: Hooks = Hooks(),
    tracking: Tracking | None = None,
) -> TrainResult:
    """Train ``model`` on ``task`` and leave checkpoints, metrics and events in ``run_dir``.

    Runs on whatever ``accelerate launch``, ``torchrun`` or plain Python offers: the batches are
    the same for any number of processes. SIGINT and SIGTERM finish the current step and save.

    Args:
        model: trained in place; moved to the device of this process.
        task: data, loss and metrics.
        settings: the protocol.
        run_dir: gets ``checkpoints/last.safetensors`` (all that is needed to go on) and ``best``
            (weights), ``metrics.jsonl``, ``tensorboard/``. Has to be visible to all processes.
        seed: decides order, augmentation and dropout; initial weights are the caller's.
        resume: continue the run in ``run_dir`` exactly where its checkpoint left it.
        progress: show a bar on standard error.
        first_step: where in data order and schedule to begin, with a fresh optimizer.
        steps: end after so many optimizer steps; the schedule stays that of ``settings.epochs``.
        evaluate: whether to measure the network on the validation set.
        hooks: what is done at every step beside the step itself.
        tracking: which trackers follow, whatever ``settings`` say, beside ``run_dir``.

    Raises:
        TrainingInterrupted: a signal asked to stop; the checkpoint is saved.
        TrainingError: loss or weights are not finite; the last good checkpoint is kept. Or the task
            does not compute the metrics that it declares, or the network cannot be compiled.
        CheckpointError: the checkpoint is missing, damaged or belongs to another run.
        FileError: the disk is full; the checkpoint before is kept.
        DataError: no training or no validation images.
    """
    run_dir = Path(run_dir)
    if evaluate:
        check_validation(task)
    with open_run(model, task, settings, run_dir, seed=seed, resume=resume) as run:
        run.between(first_step, run.position.ended or steps, resume)
        run.evaluating, run.hooks = evaluate, hooks
        _go(run, tracking, progress)
    return _result(run, model)


def _go(run: Run, tracking: Tracking | None, progress: bool) -> None:
    with (
        _fast_convolutions(run.settings),
        _log(run, tracking) as log,
        _display(run, progress) as shown,
        stop_on_signal() as stop,
    ):
        _loop(run, stop, log, shown)
    run.step_graph = None  # its memory goes with it


def _result(run: Run, model: nn.Module) -> TrainResult:
    position = run.position
    if run.settings.patience and position.best is not None:
        restore_best(run, model)
    elif run.ema:
        model = run.unpadded(run.ema.module)
    return TrainResult(
        model=model.eval(),
        metrics=position.metrics,
        outcomes=run.outcomes,
        choices=run.choices,
        seconds=position.total_seconds,
        epochs=position.epoch,
        losses=tuple(run.losses),
        ended=position.ended,
        best_epoch=position.best_epoch or None if run.settings.patience else None,
        padding=run.padding,
    )


def _log(run: Run, tracking: Tracking | None) -> AbstractContextManager[RunLog | None]:
    if not run.accelerator.is_main_process:
        return nullcontext()
    return open_log(run.folder, run.position.epoch, run.steps_done, tracking or Tracking())


def _display(run: Run, progress: bool) -> AbstractContextManager[Display]:
    total = run.settings.epochs * run.steps
    return display(
        progress and run.accelerator.is_main_process,
        total=total if run.last_step is None else min(run.last_step, total),
        done=run.steps_done,
        epochs=run.epochs,
    )


def _loop(run: Run, stop: Stop, log: RunLog | None, shown: Display) -> None:
    settings, position = run.settings, run.position
    while position.epoch < run.epochs:
        run.model.train()
        clock = time.perf_counter()
        pending: list[Tensor] = []  # losses that have not been looked at
        if run.resize():
            run.step_graph = _step_graph(run)
        shares, batches = _epoch_batches(run)
        for parts in shares:
            order.seed_step(run.seed, run.steps_done, run.accelerator.process_index)
            pending.append(_update(run, parts, batches))
            position.step += 1
            ending = _ends(run)
            saving = _every(settings.checkpoint_every, run.steps_done)
            if saving or _look_now(run, stop):
                stopping = _settle(run, pending, stop)
                clock = _count_time(run, clock)
                shown.step(run.steps_done, position.loss_sum / run.steps_counted)
                if stopping:
                    _save_and_stop(run)
                if saving:
                    save(run)
            if ending:
                break
        if _settle(run, pending, stop):
            _save_and_stop(run)
        _count_time(run, clock)
        check_weights(run)
        try:
            line = _finish_epoch(run, stop)
        except EvaluationStopped:
            _save_and_stop(run)
        if log:
            log.write(line)
        save(run)
        shown.epoch(line)


def _epoch_batches(run: Run) -> tuple[list[list[list[int]]], Iterator[Batch]]:
    """Return what this process does in the rest of the epoch: indices per step and part, data."""
    task, settings, epoch = run.task, run.settings, run.position.epoch
    accelerator = run.accelerator
    groups = getattr(task, "train_groups", None)
    batches = order.train_batches(
        task.train_size, settings.batch_size, seed=run.seed, epoch=epoch, groups=groups
    )
    left = None if run.last_step is None else run.last_step - epoch * run.steps
    shares = [
        order.share(
            batch,
            rank=accelerator.process_index,
            processes=accelerator.num_processes,
            parts=settings.accumulate,
        )
        for batch in batches[run.position.step : left]
    ]
    flat = [part for parts in shares for part in parts]
    assert run.sized is not None  # see Run.resize
    return shares, run.sized.train_batches(
        flat, seed=run.seed, epoch=epoch, device=accelerator.device
    )


def _update(run: Run, parts: Sequence[Sequence[int]], batches: Iterator[Batch]) -> Tensor:
    """Do one optimizer step; return the loss, which summed over processes is the batch's mean."""
    settings, accelerator, optimizer = run.settings, run.accelerator, run.optimizer
    size = min(settings.batch_size, run.task.train_size)
    losses = []
    for i, part in enumerate(parts):
        batch = next(batches)
        if settings.channels_last:
            batch = recursively_apply(as_channels_last, batch)
        last = i == len(parts) - 1
        with nullcontext() if last else accelerator.no_sync(run.model):
            losses.append(
                run.step_graph(batch)
                if run.step_graph
                else _gradients(run, len(part) / size, batch)
            )
    if settings.clip_grad is not None:
        accelerator.clip_grad_norm_(run.model.parameters(), settings.clip_grad)
    if run.hooks.before_step:
        if settings.clip_grad is None:  # clipping has done so already
            accelerator.unscale_gradients()
        run.hooks.before_step(run.steps_done)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    run.position.lr = learning_rate(optimizer)
    if run.hooks.after_step:
        run.hooks.after_step(run.position.lr)
    run.scheduler.step_update(run.steps_done + 1)
    if run.ema:
        run.ema.update(run.bare, step=run.steps_done + 1)
    return sum(losses[1:], start=losses[0])


def _gradients(run: Run, share: float, batch: Batch) -> Tensor:
    """Add the gradients of a ``share`` of the step's examples; return what it adds to the loss."""
    processes = run.accelerator.num_processes
    loss = run.task.loss(run.model, batch)
    if share != 1:  # on a GPU every product is a launch more, forward and backward
        loss = loss * share
    # gradients are averaged over processes, but the shares are parts of a sum
    run.accelerator.backward(loss * processes if processes > 1 else loss)
    return loss.detach()


def _step_graph(run: Run) -> StepGraph | None:
    """Return what computes a whole step's gradients at one launch, if that can be done."""
    alone = run.accelerator.num_processes == 1 and run.settings.accumulate == 1
    if not (run.settings.cuda_graph and alone and run.accelerator.device.type == "cuda"):
        return None
    return StepGraph(partial(_gradients, run, 1.0), run.bare)


def _ends(run: Run) -> bool:
    """Whether the run's check ends it after this step; all processes decide alike."""
    check = run.hooks.end_check
    if check is None or run.steps_done % check.every:
        return False
    met = [check.met()]
    broadcast_object_list(met)
    if met[0]:
        run.last_step = run.position.ended = run.steps_done
    return met[0]


def _look_now(run: Run, stop: Stop) -> bool:
    """Whether to look at losses and signals after this step; all processes decide alike."""
    if run.accelerator.device.type == "cpu":
        return True
    alone = run.accelerator.num_processes == 1
    return (alone and stop.requested) or run.position.step % _LOOK_EVERY == 0


def _settle(run: Run, pending: list[Tensor], stop: Stop) -> bool:
    """Add the ``pending`` losses to the epoch's; return whether any process was asked to stop.

    Raises:
        TrainingError: one of the losses is not finite.
    """
    wish = torch.tensor(float(stop.requested), device=run.accelerator.device)
    values = torch.stack([*pending, wish])
    if run.accelerator.num_processes > 1:
        values = run.accelerator.reduce(values, "sum")
    *losses, wishes = values.tolist()
    first = run.position.step - len(losses) + 1
    for step, loss in enumerate(losses, first):
        if not math.isfinite(loss):
            raise not_finite(run, f"the loss ({loss})", step)
        run.position.loss_sum += loss
    run.losses += losses
    pending.clear()
    return bool(wishes)


def _finish_epoch(run: Run, stop: Stop) -> dict[str, float]:
    """Evaluate, move on to the next epoch and return the line for the log."""
    task, settings, position = run.task, run.settings, run.position
    number = position.epoch + 1
    line: dict[str, float] = {
        "epoch": number,
        "step": run.steps_done,
        "train_loss": position.loss_sum / run.steps_counted,
        "lr": position.lr,
    }
    clock = time.perf_counter()
    last = number == run.epochs
    evaluation = None
    if run.evaluating and (last or _every(settings.eval_every, number)):
        evaluation = run_evaluation(
            run.accelerator,
            run.scored,
            task,
            settings.eval_batch_size or settings.batch_size,
            channels_last=settings.channels_last,
            stop=stop,
        )
        line |= evaluation.metrics
    seconds = position.train_seconds + time.perf_counter() - clock
    images = run.steps_counted * min(settings.batch_size, task.train_size)
    line |= {"seconds": seconds, "images_per_second": images / position.train_seconds}
    position.total_seconds += seconds
    position.epoch, position.step, position.loss_sum, position.train_seconds = number, 0, 0.0, 0.0
    if evaluation is not None:
        keep(run, evaluation)
    return line


def _save_and_stop(run: Run) -> NoReturn:
    save(run)
    position = run.position
    raise TrainingInterrupted(
        f"stopped in epoch {position.epoch + 1} after step {position.step} of {run.steps}; "
        f"saved to {run.last}, resume to go on"
    )


def _count_time(run: Run, since: float) -> float:
    """Add the time since ``since`` to the epoch's; return now."""
    now = time.perf_counter()
    run.position.train_seconds += now - since
    return now


def _every(interval: int | None, count: int) -> bool:
    return interval is not None and count % interval == 0


@contextmanager
def _fast_convolutions(settings: TrainSettings) -> Iterator[None]:
    """Let cuDNN try its algorithms, which pays because all batches have one size; or compile."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        with compile_errors() if settings.compile else nullcontext():
            yield
    finally:
        torch.backends.cudnn.benchmark = before
