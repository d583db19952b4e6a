"""What a run keeps of its evaluations: the last one, or the best where it stops early."""

from __future__ import annotations

import math

from torch import nn

from lwdna.engine.evaluation import Evaluation
from lwdna.engine.state import Run
from lwdna.engine.together import shared
from lwdna.run_folder import best_checkpoint
from lwdna.weights import load_weights, read_tensors, save_weights


def keep(run: Run, evaluation: Evaluation) -> None:
    """Note what the epoch that is just finished is worth, and whether the run ends with it.

    The weights of the best epoch so far are kept as ``best.safetensors``. With a ``patience`` the
    run's figures are those of the best epoch, and it ends after so many epochs without a better
    one; else they are those of the last.
    """
    patience, position = run.settings.patience, run.position
    improved = _improved(run, evaluation.metrics[run.task.metric.name])
    if improved or patience is None or position.best is None:
        position.metrics, run.outcomes = evaluation.metrics, evaluation.outcomes
        run.choices = evaluation.choices
    if patience is None:
        return
    if shared(position.epoch - position.best_epoch >= patience):  # rounding must not part processes
        run.last_step = position.ended = run.steps_done


def restore_best(run: Run, model: nn.Module) -> None:
    """Give ``model``, which has the widths that are written, the best weights of the run.

    Raises:
        CheckpointError: the file that holds them is missing or damaged.
    """
    path = best_checkpoint(run.folder)
    load_weights(model, read_tensors(path)[0], path)


def _improved(run: Run, value: float) -> bool:
    """Keep the evaluated weights if ``value`` is the best so far; return whether it is.

    A value that is not finite is none: nothing would ever be better than a NaN.
    """
    position, metric = run.position, run.task.metric
    best = position.best
    if not math.isfinite(value) or not (best is None or metric.better(value, best)):
        return False
    position.best, position.best_epoch = value, position.epoch
    if run.accelerator.is_main_process:
        note = {"epoch": str(position.epoch), metric.name: str(value)}
        save_weights(best_checkpoint(run.folder), run.unpadded(run.scored).state_dict(), note)
    return True
