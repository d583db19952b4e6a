"""Training before the units are scored, with the engine's loop: checkpoints, resume, processes.

SGD (or another optimizer) on everything that is trainable, with the loss of the task or of the
criterion, under penalties that make units vanish.
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

from lwdna.engine import EndCheck, Hooks, Task, TrainSettings, train
from lwdna.engine.order import steps_per_epoch
from lwdna.inputs import examples
from lwdna.methods.criteria import Loss
from lwdna.methods.objective import with_loss
from lwdna.methods.settings import WarmupSettings
from lwdna.methods.sparse.penalty import Penalty, Removed, make_penalties
from lwdna.methods.sparse.stop import Target
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


@dataclass(frozen=True)
class WarmedUp:
    """What a warm-up came to."""

    losses: tuple[float, ...]
    """Training loss of every step."""
    met: bool | None = None
    """Whether it reached its target; None where it had none."""
    masked: dict[str, int] | None = None
    """How many units of every group count at the end, by that target."""

    def to_json(self) -> dict[str, Any]:
        """Return steps, and of a target whether it was met and by which widths, as JSON data."""
        reached = {} if self.met is None else {"met": self.met, "masked": self.masked}
        return {"steps": len(self.losses), **reached}


def warm_up(
    network: nn.Module,
    run: WarmupRun,
    settings: WarmupSettings,
    *,
    seed: int,
    loss: Loss | None = None,
    units: Units | None = None,
    removed: Removed | None = None,
    target: Target | None = None,
) -> WarmedUp:
    """Train ``network`` in place.

    Args:
        network: a hypernetwork or a widened network.
        run: data and checkpoints.
        settings: length and protocol.
        seed: decides order and augmentation.
        loss: what to minimise; default: the task's loss.
        units: of ``network``, on which the settings' penalties act.
        removed: which units the search would remove now; for growing penalties.
        target: ends the warm-up where ``settings.until`` says how often to look; penalties spare
            the groups that it cannot narrow any more.

    Raises:
        RecipeError: a penalty has nothing to act on.
        TrainingInterrupted: a signal asked to stop; the checkpoint is saved.
        TrainingError: loss or weights are not finite.
        CheckpointError: the checkpoint is damaged or belongs to another warm-up.
    """
    task = run.task if loss is None else with_loss(run.task, loss)
    each = steps_per_epoch(task.train_size, settings.batch_size)
    length = settings.until.at_most if settings.until else settings
    steps = length.iterations or max(1, round((length.epochs or 0) * each))
    protocol = settings.model_dump(exclude={"iterations", "epochs", "until", "penalty"})
    trained = train(
        network,
        task,
        TrainSettings(
            epochs=math.ceil(steps / each),
            schedule="multistep" if settings.milestones else "constant",
            **protocol,
        ),
        run.folder,
        seed=seed,
        resume=run.resume and last_checkpoint(run.folder).exists(),
        progress=run.options.progress,
        steps=steps,
        evaluate=False,
        hooks=_hooks(settings, units, removed, target),
    )
    network.train()
    if target is None:
        return WarmedUp(trained.losses)
    done = WarmedUp(trained.losses, trained.ended is not None or target.met(), target.widths())
    run.options.say(_said(done, target))
    return done


def _hooks(
    settings: WarmupSettings, units: Units | None, removed: Removed | None, target: Target | None
) -> Hooks:
    """Return what penalties do at every step, and what ends the warm-up."""
    check = None
    if settings.until and target:
        check = EndCheck(settings.until.check_every, target.met)
    if not settings.penalty:
        return Hooks(end_check=check)
    if units is None:
        raise ValueError("penalties need the units they act on")
    spares = target.spares if target else None
    penalties = _Penalties(make_penalties(units, settings.penalty, removed, spares))
    return Hooks(penalties.before_step, penalties.after_step, check)


def _said(done: WarmedUp, target: Target) -> str:
    """Return in a line of text how a warm-up with a target ended."""
    needs = target.limits.amounts(done.masked)
    steps = len(done.losses)
    what = (
        f"{steps:,} step{'s' if steps > 1 else ''}: the units that count (of size "
        f"{target.threshold:g} or more) make a network of {needs}; near enough is {target.limits}"
    )
    if done.met:
        return f"the warm-up has reached its budget after {what}"
    return (
        f"note: the warm-up has not reached its budget in {what}; the keep rule does the rest, "
        "but a larger penalty, or more of at_most, may find better widths"
    )


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
