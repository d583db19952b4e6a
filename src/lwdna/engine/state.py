"""Everything a run consists of, and how it is saved and restored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from timm.layers import convert_sync_batchnorm
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from lwdna.channels.proof.padding import Padding
from lwdna.engine import order
from lwdna.engine.checkpoint import load_state, save_state
from lwdna.engine.compiling import compiled
from lwdna.engine.device import make_accelerator, prepared
from lwdna.engine.hooks import Hooks
from lwdna.engine.optim import make_optimizer, make_scheduler, restore_optimizer
from lwdna.engine.padding import make_padding
from lwdna.engine.settings import TrainSettings
from lwdna.engine.step_graph import StepGraph
from lwdna.engine.task import Choices, ResizesImages, Task
from lwdna.errors import CheckpointError, DataError, TrainingError
from lwdna.run_folder import last_checkpoint
from lwdna.weights import load_weights

_FREE_ON_RESUME = {"eval_batch_size", "eval_every", "checkpoint_every", "trackers"}
"""Settings that may change on resume, because training does not depend on them."""


@dataclass
class Position:
    """Where a run stands: all of its state that is not a tensor."""

    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Optimizer steps done in the epoch that follows."""
    loss_sum: float = 0.0
    """Sum of the losses of those steps."""
    lr: float = 0.0
    """Learning rate of the last step."""
    train_seconds: float = 0.0
    """Time those steps took."""
    total_seconds: float = 0.0
    """Time of all finished epochs, training and evaluation."""
    best: float | None = None
    """Best value so far of the task's primary metric."""
    best_epoch: int = 0
    """After how many epochs that was; 0 if there is none."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Results of the last evaluation; of the best one in a run that may stop early."""
    ended: int | None = None
    """After how many steps since the very beginning a check or its patience ended the run."""


@dataclass
class Run:
    """A training run in this process."""

    accelerator: Accelerator
    task: Task
    settings: TrainSettings
    seed: int
    folder: Path
    """Where the run keeps its files."""
    model: nn.Module
    """The network as it is trained: in mixed precision, shared by the processes, compiled."""
    bare: nn.Module
    """The same network without the wrapper for several processes."""
    scored: nn.Module
    """The network that is evaluated: the moving average if there is one, else ``bare``."""
    ema: ModelEmaV3 | None
    optimizer: torch.optim.Optimizer
    scheduler: Scheduler
    steps: int
    """Optimizer steps per epoch."""
    position: Position
    given: nn.Module
    """The network as it was given, whose widths are what is written."""
    outcomes: Tensor
    """The outcome of every example in the evaluation that ``position.metrics`` is of, shape
    (N,)."""
    choices: Choices | None = None
    """The class chosen for every example in that evaluation, where there is one."""

    first_step: int = 0
    """The step of data order and schedule at which the run began."""
    last_step: int | None = None
    """After how many steps since the very beginning to end, if before the settings' epochs do."""
    evaluating: bool = True
    hooks: Hooks = Hooks()
    step_graph: StepGraph | None = None
    """Computes the gradients at one launch, where that is asked for and possible."""
    padding: Padding | None = None
    """How the networks above are wider in memory than the one that was given."""
    losses: list[float] = field(default_factory=list)
    """Training loss of every step since the very beginning."""
    side: int | None = None
    """The side that training images have, if it is not the task's own."""
    sized: Task | None = None
    """The task with training images of the present size; None before the first epoch."""

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return last_checkpoint(self.folder)

    @property
    def steps_done(self) -> int:
        """Optimizer steps since the very beginning."""
        return self.position.epoch * self.steps + self.position.step

    @property
    def steps_counted(self) -> int:
        """Steps of the epoch that follows whose losses are summed up: those done in this run."""
        return self.position.step - max(0, self.first_step - self.position.epoch * self.steps)

    @property
    def epochs(self) -> int:
        """Epochs that are begun, of which the last may end early."""
        if self.last_step is None:
            return self.settings.epochs
        return min(self.settings.epochs, math.ceil(self.last_step / self.steps))

    def between(self, first: int, last: int | None, resumed: bool) -> None:
        """Begin at one step, unless a checkpoint has said where to go on, and end at another."""
        self.first_step, self.last_step = first, last
        if first and not resumed:
            self.position.epoch, self.position.step = divmod(first, self.steps)
            self.scheduler.step_update(first)

    def resize(self) -> bool:
        """Choose the size of the next epoch's images; return whether it is another than before.

        Raises:
            TrainingError: the task knows no other sizes.
            DataError: the size is larger than the task's own.
        """
        side = self.settings.side_in(self.position.epoch)
        if self.sized is not None and side == self.side:
            return False
        self.side, self.sized = side, self.task
        if side is not None:
            if not isinstance(self.task, ResizesImages):
                raise TrainingError(
                    "train.progressive is for tasks whose images can be trained on in other "
                    "sizes; set train.progressive=[]"
                )
            self.sized = self.task.resized(side)
        return True

    def unpadded(self, network: nn.Module) -> nn.Module:
        """Return one of the networks, or if it is padded a copy of the widths given."""
        if self.padding is None:
            return network
        return self.padding.copy_back(network, deepcopy(self.given))


@contextmanager
def open_run(
    model: nn.Module, task: Task, settings: TrainSettings, run_dir: Path, *, seed: int, resume: bool
) -> Iterator[Run]:
    """Yield a run at its beginning or, with ``resume``, where its last checkpoint left it.

    Raises:
        CheckpointError: nothing to resume from, a run that would be overwritten, or a checkpoint
            of another network or of other settings.
        DataError: no training images.
        TrainingError: settings that this machine or the optimizer cannot serve.
    """
    _check_start(task, run_dir, resume)
    accelerator = make_accelerator(settings.mixed_precision)
    _check_batch(task, settings, accelerator.num_processes)
    padding = make_padding(model, task, settings)
    given, model = model, padding.pad(model) if padding else model
    for network in (given, model):
        network.to(accelerator.device)
        if settings.channels_last:
            network.to(memory_format=torch.channels_last)
    ema = ModelEmaV3(model, decay=settings.ema, use_warmup=True) if settings.ema else None
    bare = _synchronised(model, accelerator) if settings.sync_batchnorm else model
    steps = order.steps_per_epoch(task.train_size, settings.batch_size)
    with (
        prepared(accelerator, bare) as wrapped,
        prepared(accelerator, ema.module, evaluation=True) if ema else nullcontext(bare) as scored,
    ):
        optimizer = make_optimizer(bare, settings, accelerator.device)
        run = Run(
            accelerator=accelerator,
            task=task,
            settings=settings,
            seed=seed,
            folder=run_dir,
            model=compiled(wrapped) if settings.compile else wrapped,
            bare=bare,
            scored=scored,
            ema=ema,
            # what Accelerate makes of it looks for packages on the disk at every step
            optimizer=accelerator.prepare_optimizer(optimizer) if accelerator.scaler else optimizer,
            scheduler=make_scheduler(optimizer, settings, steps),
            steps=steps,
            position=Position(),
            given=given,
            outcomes=torch.zeros(task.eval_size),
            padding=padding,
        )
        if resume:
            _restore(run)
        yield run
        if bare is not model:
            model.load_state_dict(bare.state_dict())
        if padding:
            padding.copy_back(model, given)


def save(run: Run) -> None:
    """Replace the run's checkpoint by its present state.

    Raises:
        TrainingError: a weight is not finite; the checkpoint is left as it was.
        FileError: the checkpoint cannot be written; the one before is left as it was.
    """
    check_weights(run)
    if run.accelerator.is_main_process:
        scaler = run.accelerator.scaler
        save_state(
            run.last,
            {
                "position": asdict(run.position),
                "losses": torch.tensor(run.losses, dtype=torch.float64),
                "outcomes": run.outcomes,
                "choices": vars(run.choices) if run.choices else None,
                "run": _identity(run),
                "model": run.bare.state_dict(),
                "ema": run.ema.module.state_dict() if run.ema else None,
                "optimizer": run.optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler else None,
            },
        )
    run.accelerator.wait_for_everyone()


def check_weights(run: Run) -> None:
    """Make sure that the weights are worth evaluating and saving.

    Raises:
        TrainingError: a weight is not finite.
    """
    norm = torch.nn.utils.get_total_norm(run.bare.parameters())
    if not math.isfinite(norm.item()):
        raise not_finite(run, "a weight", run.position.step)


def not_finite(run: Run, what: str, step: int) -> TrainingError:
    """Return the error for a run that has diverged in the present epoch."""
    kept = f"the last good checkpoint is kept at {run.last}"
    return TrainingError(
        f"{what} is not finite in epoch {run.position.epoch + 1}, step {step} of {run.steps} "
        f"(learning rate {run.position.lr:.3g}); try a smaller train.lr, train.clip_grad=1, more "
        "train.warmup_epochs or train.mixed_precision=no; "
        + (kept if run.last.exists() else "no checkpoint had been written yet")
    )


def _check_start(task: Task, run_dir: Path, resume: bool) -> None:
    if task.train_size == 0:
        raise DataError("the training set is empty; give one with at least one image")
    exists = last_checkpoint(run_dir).exists()
    if resume and not exists:
        raise CheckpointError(
            f"nothing to resume in {run_dir}: {last_checkpoint(run_dir)} does not exist; "
            "name the folder of an interrupted run or start without resume"
        )
    if exists and not resume:
        raise CheckpointError(
            f"{run_dir} already holds a run; resume it, choose another folder or delete this one"
        )


def _check_batch(task: Task, settings: TrainSettings, processes: int) -> None:
    size = min(settings.batch_size, task.train_size)
    if size < processes:
        raise TrainingError(
            f"a batch of {size} images cannot be shared by {processes} processes; "
            "set a larger train.batch_size or start fewer processes"
        )


def _synchronised(model: nn.Module, accelerator: Accelerator) -> nn.Module:
    if accelerator.num_processes == 1:
        return model
    if accelerator.device.type == "cpu":
        raise TrainingError("sync_batchnorm needs GPUs; set train.sync_batchnorm=false on CPUs")
    # a copy, so that the network handed back has ordinary layers
    converted: nn.Module = convert_sync_batchnorm(deepcopy(model))
    return converted


def _identity(run: Run) -> dict[str, Any]:
    """Return what must not change between saving and resuming."""
    free = _FREE_ON_RESUME - ({"eval_every"} if run.settings.patience else set())
    settings = run.settings.model_dump(mode="json", exclude=free)
    return {"seed": run.seed, "train_size": run.task.train_size, **settings}


def _restore(run: Run) -> None:
    state = load_state(run.last)
    position = Position(**state["position"])
    _check_identity(run, state["run"], position)
    load_weights(run.bare, state["model"], run.last)
    if run.ema:
        load_weights(run.ema.module, state["ema"], run.last)
    restore_optimizer(run.optimizer, state["optimizer"])
    if run.accelerator.scaler and state["scaler"]:
        run.accelerator.scaler.load_state_dict(state["scaler"])
    run.position, run.outcomes = position, state["outcomes"]
    run.choices = Choices(**state["choices"]) if state.get("choices") else None
    run.losses = state["losses"].tolist()


def _check_identity(run: Run, saved: Mapping[str, Any], position: Position) -> None:
    own = _identity(run)
    before, now = saved.get("epochs"), run.settings.epochs
    why = None
    if before != now and isinstance(before, int):
        why = run.settings.obstacle(before)
        if position.ended is not None:
            why = why or f"it ended by itself after epoch {position.epoch}"
        if why is None:  # it goes on as if it had been begun with so many epochs
            saved = {**saved, "epochs": now}
    changed = [
        f"{name} was {saved.get(name)} and is now {value}"
        for name, value in own.items()
        if saved.get(name) != value
    ]
    if changed:
        raise CheckpointError(
            f"cannot resume {run.last} exactly: {'; '.join(changed)}{f' ({why})' if why else ''}; "
            "resume with the settings it was made with or start a new run"
        )
