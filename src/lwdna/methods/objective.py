"""A task with another training loss."""

from __future__ import annotations

from typing import Any, cast

from lwdna.engine import Task
from lwdna.methods.criteria import Loss


def with_loss(task: Task, loss: Loss) -> Task:
    """Return ``task`` with another training loss; everything else stays."""
    return cast(Task, _WithLoss(task, loss))


class _WithLoss:
    def __init__(self, task: Task, loss: Loss) -> None:
        self._task = task
        self.loss = loss

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)
