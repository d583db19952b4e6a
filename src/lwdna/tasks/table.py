"""The table of vision tasks, by which recipes find them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lwdna.registry import Registry
from lwdna.settings import Settings

if TYPE_CHECKING:  # a recipe is checked without torch
    from lwdna.engine.task import Task


@dataclass(frozen=True)
class TaskKind:
    """A task as recipes know it."""

    settings: type[Settings]
    """What the ``data`` section of a recipe may say."""
    make: Callable[[Any], Task]
    """Open the data set that such settings describe."""
    makes_images: bool = False
    """Whether an evaluation leaves images that a user wants to see."""
    verb: str | None = None
    """The verb of the command line by which a trained network is used on a user's own files."""


TASKS: Registry[TaskKind] = Registry("task", "lwdna.tasks", "register_task")
"""The tasks by the name that recipes give them."""

M = TypeVar("M", bound="Callable[[Any], Task]")


def register_task(
    name: str,
    *,
    settings: type[Settings],
    makes_images: bool = False,
    verb: str | None = None,
) -> Callable[[M], M]:
    """Register what makes a task, a class or a function, under a name that is taken only once.

    ::

        @lwdna.register_task("counting", settings=CountingSettings)
        class CountingTask: ...

    Args:
        name: what ``task`` is in a recipe.
        settings: what the ``data`` section of a recipe may say; the task is made from it.
        makes_images: whether an evaluation leaves images that a user wants to see.
        verb: by which a trained network is used on a user's own files, as ``lwdna restore`` is.

    The task has the attributes and methods of :class:`lwdna.engine.task.Task`.

    Raises:
        ValueError: another task has that name.
    """

    def register(make: M) -> M:
        TASKS.add(name, TaskKind(settings, make, makes_images, verb), make)
        return make

    return register
