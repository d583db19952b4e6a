"""Values of images: numbers instead of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily
from lwdna.tasks.regression.settings import RegressionSettings
from lwdna.tasks.table import register_task

if TYPE_CHECKING:
    from lwdna.tasks.regression.task import RegressionTask

__all__ = ["RegressionSettings", "RegressionTask"]

export_lazily(__name__, {"lwdna.tasks.regression.task": ("RegressionTask",)})


@register_task("regression", settings=RegressionSettings, verb="predict")
def regression(data: RegressionSettings) -> RegressionTask:
    """Values of images: one number or several."""
    from lwdna.tasks.regression.task import RegressionTask

    return RegressionTask(data)
