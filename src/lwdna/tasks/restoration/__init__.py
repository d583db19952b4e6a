"""Image restoration: super-resolution and denoising of Gaussian noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily
from lwdna.tasks.restoration.settings import RestorationSettings
from lwdna.tasks.table import register_task

if TYPE_CHECKING:
    from lwdna.tasks.restoration.task import RestorationTask

__all__ = ["RestorationSettings", "RestorationTask"]

export_lazily(__name__, {"lwdna.tasks.restoration.task": ("RestorationTask",)})


@register_task("restoration", settings=RestorationSettings, makes_images=True, verb="restore")
def restoration(data: RestorationSettings) -> RestorationTask:
    """Super-resolution and denoising of Gaussian noise."""
    from lwdna.tasks.restoration.task import RestorationTask

    return RestorationTask(data)
