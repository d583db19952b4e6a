"""Vision tasks: data, loss and metrics behind :class:`lwdna.engine.task.Task`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.tasks.table import TASKS, TaskKind, register_task

__all__ = ["TASKS", "TaskKind", "register_task"]

export_lazily(__name__, {"lwdna.tasks.table": ("TASKS", "TaskKind", "register_task")})
