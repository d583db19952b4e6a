"""Training before the units are scored, with the engine's loop: checkpoints, resume, processes.

SGD (or another optimizer) on everything that is trainable, with the loss of the task or of the
criterion. Where a hypernetwork is trained, a proximal step on its latents may follow every step:

    z <- argmin_x |x - z|^2 / 2 + lr lambda |x|_1,  that is  sign(z) max(|z| - lr lambda, 0)

Source: Li et al., "DHP: Differentiable Meta Pruning via HyperNetworks", ECCV 2020 (arXiv
2003.13683), the proximal gradient solver.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves, tree_map_only

from lwdna.engine import EndCheck, Task, TrainSettings, train
from lwdna.engine.order import steps_per_epoch
from lwdna.hypernet import Latents
from lwdna.inputs import examples
from lwdna.methods.criteria import Loss
from lwdna.methods.objective import with_loss
from lwdna.methods.settings import WarmupSettings
from lwdna.methods.sparse.stop import Target
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
    latents: Latents | None = None,
    target: Target | None = None,
) -> WarmedUp:
    """Train ``network`` in place.

    Args:
        network: a hypernetwork or a widened network.
        run: data and checkpoints.
        settings: length and protocol.
        seed: decides order and augmentation.
        loss: what to minimise; default: the task's loss.
        latents: get the proximal steps.
        target: ends the warm-up where ``settings.until`` says how often to look; spares the
            latents of groups that it cannot narrow any more.

    Raises:
        TrainingInterrupted: a signal asked to stop; the checkpoint is saved.
        TrainingError: loss or weights are not finite.
        CheckpointError: the checkpoint is damaged or belongs to another warm-up.
    """
    task = run.task if loss is None else with_loss(run.task, loss)
    each = steps_per_epoch(task.train_size, settings.batch_size)
    length = settings.until.at_most if settings.until else settings
    steps = length.iterations or max(1, round((length.epochs or 0) * each))
    protocol = settings.model_dump(exclude={"iterations", "epochs", "until", "latent_l1"})
    check = None
    if settings.until and target:
        check = EndCheck(settings.until.check_every, target.met)
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
        after_step=_shrinking(latents, settings.latent_l1, target) if latents else None,
        end_check=check,
    )
    network.train()
    if target is None:
        return WarmedUp(trained.losses)
    done = WarmedUp(trained.losses, trained.ended is not None or target.met(), target.widths())
    run.options.say(_said(done, target))
    return done


def _shrinking(
    latents: Latents, strength: float, target: Target | None
) -> Callable[[float], None] | None:
    """Return the proximal step on latents; the target spares groups that are narrow enough."""

    @torch.no_grad()
    def shrink_latents(lr: float) -> None:
        for name, vector in zip(latents.names, latents.vectors, strict=True):
            moved = F.softshrink(vector, lr * strength)
            if target:
                moved = torch.where(target.spares(name, vector.abs()), vector, moved)
            vector.copy_(moved)

    return shrink_latents if strength else None


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
