"""What a network chose for the validation examples: kept, and summed up class by class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lwdna.engine import Task
from lwdna.engine.task import Choices
from lwdna.reports import Predictions, class_results, write_predictions
from lwdna.workflows.same_data import classes_of


def told_classes(task: Task, choices: Choices | None, folder: Path | None) -> dict[str, Any]:
    """Return what results say of the classes; nothing where the task tells none.

    Args:
        task: names the classes.
        choices: of all validation examples.
        folder: gets ``predictions.safetensors``, if there is one.

    Raises:
        FileError: the file cannot be written.
    """
    if choices is None:
        return {}
    parts = (choices.true, choices.chosen, choices.probability.double())
    predictions = Predictions(*(part.numpy() for part in parts))
    if folder is not None:
        write_predictions(folder, predictions)
    return {"classes": class_results(predictions, classes_of(task))}
