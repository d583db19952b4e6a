"""Making a trained network smaller: which of its units stay, in one step or in several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.methods.slimming.one_shot import Slimmed, check_budget, slice_off, slim
    from lwdna.methods.slimming.settings import ScheduleSettings, SlimSettings

__all__ = ["ScheduleSettings", "SlimSettings", "Slimmed", "check_budget", "slice_off", "slim"]

export_lazily(
    __name__,
    {
        "lwdna.methods.slimming.one_shot": ("Slimmed", "check_budget", "slice_off", "slim"),
        "lwdna.methods.slimming.settings": ("ScheduleSettings", "SlimSettings"),
    },
)
