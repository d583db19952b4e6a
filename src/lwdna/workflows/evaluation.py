"""``lwdna evaluate``: measure a trained network on the validation set of a recipe."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import nn

from lwdna.architecture import load
from lwdna.engine import Task
from lwdna.engine.evaluation import judge
from lwdna.engine.task import describe
from lwdna.files import write_json
from lwdna.recipe import Recipe
from lwdna.reports import not_finite
from lwdna.run_folder import EVALUATION, IMAGES, RESULTS
from lwdna.run_options import RunOptions
from lwdna.tasks import TASKS
from lwdna.workflows.one_writer import one_writer
from lwdna.workflows.same_data import check_same_classes
from lwdna.workflows.setup import check_fits_data, make_task
from lwdna.workflows.told_classes import told_classes

_WAY_OUT = (
    "use the data that it was trained for, or --any-classes if classes of one number are the same "
    "by other names"
)


def evaluate_run(
    weights: Path,
    recipe: Recipe,
    out: Path | None = None,
    *,
    any_classes: bool = False,
    options: RunOptions = RunOptions(),
) -> dict[str, Any]:
    """Return the metrics of the network in a ``.safetensors`` file, and what they are.

    Where it tells classes, ``classes`` says which it knows worst and which it takes for which.

    Args:
        weights: the file.
        recipe: names the data.
        out: gets ``results.json``, from tasks that tell classes ``predictions.safetensors``, and
            from tasks that make images ``images/``. By default these write into ``evaluation/``
            beside the weights, and others nothing.
        any_classes: take the network's classes for those of the data of the same numbers,
            whatever they are called.
        options: trust; told if the file does not name the network's classes, and of outputs
            that are not finite.

    Raises:
        CheckpointError: the file does not hold a network, or is damaged.
        ArchitectureError: the network is not for this data set or its classes.
        LockedError: another process writes ``out``.
        FileError: the results cannot be written.
    """
    task = make_task(recipe, options.say)
    model, architecture = load(weights, trust_code=options.trust_code)
    check_fits_data(architecture, task, str(weights))
    if not any_classes:
        check_same_classes(weights, task, f"the network in {weights}", options, way_out=_WAY_OUT)
    if out is None and TASKS[recipe.task].makes_images:
        out = weights.parent / EVALUATION
    with one_writer(out, options) if out else nullcontext():
        return _evaluate(model, task, weights, recipe, out, options)


def _evaluate(
    model: nn.Module,
    task: Task,
    weights: Path,
    recipe: Recipe,
    out: Path | None,
    options: RunOptions,
) -> dict[str, Any]:
    train = recipe.train
    metrics: dict[str, Any] = describe(task.metric, *task.other_metrics)
    found = judge(
        model,
        task,
        train.eval_batch_size or train.batch_size,
        mixed_precision=train.mixed_precision,
        channels_last=train.channels_last,
        outputs=out / IMAGES if out else None,
    )
    first = PartialState().is_main_process
    metrics |= found.metrics | told_classes(task, found.choices, out if first else None)
    metrics["examples"] = task.eval_size
    if warning := not_finite(metrics):
        options.say(f"warning: {warning}")
    if out and first:
        write_json(out / RESULTS, {"weights": str(weights), **metrics})
    return metrics
