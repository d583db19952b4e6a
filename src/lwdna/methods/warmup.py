"""Training before the units are scored, with the engine's loop: checkpoints, resume, processes.

SGD on everything that is trainable, with the loss of the task or of the criterion. Where a
hypernetwork is trained, a proximal step on its latents may follow every SGD step:

    z <- argmin_x |x - z|^2 / 2 + lr lambda |x|_1,  that is  sign(z) max(|z| - lr lambda, 0)

Source: Li et al., "DHP: Differentiable Meta Pruning via HyperNetworks", ECCV 2020 (arXiv
2003.13683), the proximal gradient solver.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves, tree_map_only

from lwdna.engine import Task, TrainSettings, train
from lwdna.engine.order import steps_per_epoch
from lwdna.hypernet import Latents
from lwdna.inputs import examples
from lwdna.methods.criteria import Loss
from lwdna.methods.objective import with_loss
from lwdna.methods.settings import WarmupSettings
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
    latents: Latents | None = None,
) -> None:
    """Train ``network`` in place.

    Args:
        network: a hypernetwork or a widened network.
        run: data and checkpoints.
        settings: length and protocol.
        seed: decides order and augmentation.
        loss: what to minimise; default: the task's loss.
        latents: get the proximal steps.

    Raises:
        TrainingInterrupted: a signal asked to stop; the checkpoint is saved.
        TrainingError: loss or weights are not finite.
        CheckpointError: the checkpoint is damaged or belongs to another warm-up.
    """
    task = run.task if loss is None else with_loss(run.task, loss)
    each = steps_per_epoch(task.train_size, settings.batch_size)
    steps = settings.iterations or max(1, round((settings.epochs or 0) * each))
    protocol = settings.model_dump(exclude={"iterations", "epochs", "latent_l1"})
    strength = settings.latent_l1

    @torch.no_grad()
    def shrink_latents(lr: float) -> None:
        for vector in latents.vectors if latents else ():
            vector.copy_(F.softshrink(vector, lr * strength))

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
        after_step=shrink_latents if strength and latents else None,
    )
    network.train()


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
