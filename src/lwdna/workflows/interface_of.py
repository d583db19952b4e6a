"""What a recipe's task says of the inputs and outputs of networks trained for it."""

from __future__ import annotations

from lwdna.engine import Task
from lwdna.engine.task import PredictsValues, PreparesImages
from lwdna.interface import Interface
from lwdna.recipe import Recipe
from lwdna.workflows.same_data import classes_of


def interface_of(recipe: Recipe, task: Task) -> Interface:
    """Return what is written down beside the weights of a network trained for a task."""
    return Interface(
        task=recipe.task,
        classes=classes_of(task),
        targets=task.targets() if isinstance(task, PredictsValues) else None,
        preprocessing=task.preprocessing() if isinstance(task, PreparesImages) else None,
    )
