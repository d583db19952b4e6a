"""Criteria: how a unit's importance is judged, each in the file of its paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.methods.criteria.latent import latent_gradients
    from lwdna.methods.criteria.problem import Loss, Problem, Scores, reset_norms
    from lwdna.methods.criteria.table import CRITERIA, Criterion, register_criterion

__all__ = [
    "CRITERIA",
    "Criterion",
    "Loss",
    "Problem",
    "Scores",
    "latent_gradients",
    "register_criterion",
    "reset_norms",
]

export_lazily(
    __name__,
    {
        "lwdna.methods.criteria.latent": ("latent_gradients",),
        "lwdna.methods.criteria.problem": ("Loss", "Problem", "Scores", "reset_norms"),
        "lwdna.methods.criteria.table": ("CRITERIA", "Criterion", "register_criterion"),
    },
)
