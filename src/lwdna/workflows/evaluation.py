"""``lwdna evaluate``: measure a trained network on the validation set of a recipe."""

from __future__ import annotations

from pathlib import Path

from lwdna.architecture import load
from lwdna.engine import evaluate
from lwdna.errors import CheckpointError
from lwdna.recipe import Recipe
from lwdna.workflows.setup import make_task


def evaluate_run(
    weights: str | Path, recipe: Recipe, *, trust_code: bool = False
) -> dict[str, float]:
    """Return the metrics of the network in a ``.safetensors`` file.

    Raises:
        CheckpointError: the file does not hold a network for this data set.
    """
    task = make_task(recipe)
    model, architecture = load(weights, trust_code=trust_code)
    classes = architecture.model.args.get("num_classes") if architecture.model else None
    if classes is not None and classes != task.num_classes:
        raise CheckpointError(
            f"{weights} tells {classes} classes apart, the data set has {task.num_classes}; "
            "use the recipe it was trained with"
        )
    train = recipe.train
    return evaluate(
        model,
        task,
        train.eval_batch_size or train.batch_size,
        mixed_precision=train.mixed_precision,
        channels_last=train.channels_last,
    )
