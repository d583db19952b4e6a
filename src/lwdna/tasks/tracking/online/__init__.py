"""Trackers: from a trained network and a first box to the target's box in every frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.tasks.tracking.online.settings import OnlineSettings
    from lwdna.tasks.tracking.online.tracker import Found, Track, Tracker, follow

__all__ = ["Found", "OnlineSettings", "Track", "Tracker", "follow"]

export_lazily(
    __name__,
    {
        "lwdna.tasks.tracking.online.settings": ("OnlineSettings",),
        "lwdna.tasks.tracking.online.tracker": ("Found", "Track", "Tracker", "follow"),
    },
)
