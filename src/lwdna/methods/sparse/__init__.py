"""Sparse training: penalties that make the weights of whole units vanish while a network trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.methods.sparse.penalty import Penalty, make_penalties
    from lwdna.methods.sparse.settings import AnnealSettings, PenaltySettings
    from lwdna.methods.sparse.units import Units, UnitVectors

__all__ = [
    "AnnealSettings",
    "Penalty",
    "PenaltySettings",
    "UnitVectors",
    "Units",
    "make_penalties",
]

export_lazily(
    __name__,
    {
        "lwdna.methods.sparse.penalty": ("Penalty", "make_penalties"),
        "lwdna.methods.sparse.settings": ("AnnealSettings", "PenaltySettings"),
        "lwdna.methods.sparse.units": ("Units", "UnitVectors"),
    },
)
