"""Vision tasks: data, loss and metrics behind :class:`lwdna.engine.task.Task`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lwdna.engine import Task
from lwdna.settings import Settings
from lwdna.tasks import classification, restoration


@dataclass(frozen=True)
class TaskKind:
    """A task as recipes know it."""

    data: type[Settings]
    """What a recipe may say about the data."""
    make: Callable[[Any], Task]
    """Open the data set that such settings describe."""
    makes_images: bool = False
    """Whether an evaluation leaves images that a user wants to see."""


TASKS = {
    "classification": TaskKind(classification.DataSettings, classification.ClassificationTask),
    "restoration": TaskKind(
        restoration.DataSettings, restoration.RestorationTask, makes_images=True
    ),
}
"""The tasks by the name that recipes give them."""
