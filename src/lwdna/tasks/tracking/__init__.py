"""Visual tracking: a network is shown a target in one frame and finds it in those that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily
from lwdna.tasks.table import register_task
from lwdna.tasks.tracking.settings import TrackingSettings

if TYPE_CHECKING:
    from lwdna.tasks.tracking.task import TrackingTask

__all__ = ["TrackingSettings", "TrackingTask"]

export_lazily(__name__, {"lwdna.tasks.tracking.task": ("TrackingTask",)})


@register_task("tracking", settings=TrackingSettings, makes_images=True, verb="track")
def tracking(data: TrackingSettings) -> TrackingTask:
    """Visual tracking of one target, shown by its box in the first frame."""
    from lwdna.tasks.tracking.task import TrackingTask

    return TrackingTask(data)
