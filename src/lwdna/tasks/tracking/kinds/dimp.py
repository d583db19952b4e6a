"""DiMP: a filter learnt from the first frame, and overlaps of boxes with the target."""

from __future__ import annotations

from lwdna.tasks.tracking.kinds.kind import register_tracker
from lwdna.tasks.tracking.settings import TrackingSettings


@register_tracker("dimp")
class DimpKind:
    """DiMP and SuperDiMP (Bhat et al., ICCV 2019, arXiv 1904.07220)."""

    def __init__(self, settings: TrackingSettings) -> None:
        self._settings = settings
