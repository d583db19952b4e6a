"""Kinds of trackers: how each is trained, and how it follows a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.tasks.tracking.kinds.kind import TRACKERS, TrackerKind, register_tracker

__all__ = ["TRACKERS", "TrackerKind", "register_tracker"]

export_lazily(
    __name__,
    {"lwdna.tasks.tracking.kinds.kind": ("TRACKERS", "TrackerKind", "register_tracker")},
)
