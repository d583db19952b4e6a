"""Latent vectors per group of channels and the generator of a network's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.hypernet.generator import Generator, formula
    from lwdna.hypernet.hypernetwork import Hypernetwork
    from lwdna.hypernet.latents import (
        Latents,
        draw_factors,
        generated_weights,
        rows_at_a_time,
        sum_by_unit,
    )

__all__ = [
    "Generator",
    "Hypernetwork",
    "Latents",
    "draw_factors",
    "formula",
    "generated_weights",
    "rows_at_a_time",
    "sum_by_unit",
]

export_lazily(
    __name__,
    {
        "lwdna.hypernet.generator": (
            "Generator",
            "formula",
        ),
        "lwdna.hypernet.hypernetwork": ("Hypernetwork",),
        "lwdna.hypernet.latents": (
            "Latents",
            "draw_factors",
            "generated_weights",
            "rows_at_a_time",
            "sum_by_unit",
        ),
    },
)
