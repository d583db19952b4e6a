"""Image classification: mixing of batches, loss and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily
from lwdna.tasks.classification.settings import ClassificationSettings
from lwdna.tasks.table import register_task

if TYPE_CHECKING:
    from lwdna.tasks.classification.task import ClassificationTask

__all__ = ["ClassificationSettings", "ClassificationTask"]

export_lazily(__name__, {"lwdna.tasks.classification.task": ("ClassificationTask",)})


@register_task("classification", settings=ClassificationSettings, verb="predict")
def classification(data: ClassificationSettings) -> ClassificationTask:
    """Image classification."""
    from lwdna.tasks.classification.task import ClassificationTask

    return ClassificationTask(data)
