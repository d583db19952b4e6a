"""Latent vectors per group of channels and the generator of a network's weights."""

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
