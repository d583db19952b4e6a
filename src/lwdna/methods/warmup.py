"""Training before the units are scored, with the engine's loop: checkpoints, resume, processes.

SGD on everything that is trainable, with the loss of the task or of the criterion, under penalties
that make units vanish.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from lwdna.engine import Task, TrainSettings, train
from lwdna.engine.order import steps_per_epoch
from lwdna.inputs import examples
from lwdna.methods.criteria import Loss
from lwdna.methods.objective import with_loss
from lwdna.methods.settings import WarmupSettings
from lwdna.methods.sparse.penalty import Penalty, Removed, make_penalties
from lwdna.methods.sparse.units import Units
from lwdna.run_folder import last_checkpoint
from lwdna.run_options import RunOptions


@dataclass(frozen=True)
class WarmupRun:
    """Where a warm-up takes its data from and keeps its checkpoints."""

    task: Task
    folder: Path
    resume: bool = False
    """Go on from a checkpoint in ``folder`` if there is one."""
    options: RunOptions = RunOptions()


def warm_up(
    network: nn.Module,
    run: WarmupRun,
    settings: WarmupSettings,
    *,
    seed: int,
    loss: Loss | None = None,
    units: Units | None = None,
    removed: Removed | None = None,
) -> None:
    """Train ``network`` in place.

    Args:
        network: a hypernetwork or a widened network.
        run: data and checkpoints.
        settings: length and protocol.
        seed: decides order and augmentation.
        loss: what to minimise; default: the task's loss.
        units: of ``network``, on which the settings' penalties act.
        removed: which units the search would remove now; for growing penalties.

    Raises:
        RecipeError: a penalty has nothing to act on.
        TrainingInterrupted: a signal asked to stop; the checkpoint is saved.
        TrainingError: loss or weights are not finite.
        CheckpointError: the checkpoint is damaged or belongs to another warm-up.
    """
    task = run.task if loss is None else with_loss(run.task, loss)
    each = steps_per_epoch(task.train_size, settings.batch_size)
    steps = settings.iterations or max(1, round((settings.epochs or 0) * each))
    protocol = settings.model_dump(exclude={"iterations", "epochs", "penalty"})
    penalties = None
    if settings.penalty:
        if units is None:
            raise ValueError("penalties need the units they act on")
        penalties = _Penalties(make_penalties(units, settings.penalty, removed))

    train(
        network,
        task,
        TrainSettings(epochs=math.ceil(steps / each), schedule="constant", **protocol),
        run.folder,
        seed=seed,
        resume=run.resume and last_checkpoint(run.folder).exists(),
        progress=run.options.progress,
        steps=steps,
        evaluate=False,
        before_step=penalties.before_step if penalties else None,
        after_step=penalties.after_step if penalties else None,
    )
    network.train()


class _Penalties:
    """What several penalties do at every step, one after the other."""

    def __init__(self, penalties: Sequence[Penalty]) -> None:
        self._penalties = penalties
        self._step = 0

    def before_step(self, step: int) -> None:
        self._step = step
        for penalty in self._penalties:
            penalty.before_step(step)

    def after_step(self, lr: float) -> None:
        for penalty in self._penalties:
            penalty.after_step(self._step, lr)


def task_of(batches: Sequence[Any], loss: Loss) -> Task:
    """Return a task whose training set are the examples of a few batches in memory.

    Batches are nested tuples, lists or dicts whose tensors have one row per example. There is no
    validation set.
    """
    return cast(Task, _InMemory(batches, loss))


class _InMemory:
    metric = "loss"
    eval_size = 0

    def __init__(self, batches: Sequence[Any], loss: Loss) -> None:
        self.loss = loss
        self._places = [
            (number, row) for number, batch in enumerate(batches) for row in range(examples(batch))
        ]
        self._batches = batches
        self.train_size = len(self._places)

    def train_batches(
        self, batches: Sequence[Sequence[int]], *, seed: int, epoch: int, device: torch.device
    ) -> Iterator[Any]:
        for indices in batches:
            yield self._gathered([self._places[index] for index in indices], device)

    def _gathered(self, places: Sequence[tuple[int, int]], device: torch.device) -> Any:
        rows = [
            [leaf[row] for leaf in tree_leaves(self._batches[number]) if isinstance(leaf, Tensor)]
            for number, row in places
        ]
        columns = iter([torch.stack(column).to(device) for column in zip(*rows, strict=True)])
        return tree_map_only(Tensor, lambda _: next(columns), self._batches[places[0][0]])
