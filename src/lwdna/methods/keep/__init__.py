"""Keep rules: how scores become widths that meet a budget, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.methods.keep.table import KEEP_RULES, KeepRule, Kept, register_keep_rule
    from lwdna.methods.keep.units import best_units, floors

__all__ = ["KEEP_RULES", "KeepRule", "Kept", "best_units", "floors", "register_keep_rule"]

export_lazily(
    __name__,
    {
        "lwdna.methods.keep.table": ("KEEP_RULES", "KeepRule", "Kept", "register_keep_rule"),
        "lwdna.methods.keep.units": ("best_units", "floors"),
    },
)
