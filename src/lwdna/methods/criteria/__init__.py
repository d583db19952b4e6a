"""The table of criteria: how a unit's worth is judged, each from its paper.

A criterion maps a :class:`Problem` (a widened network, a few batches, a loss) to one score per
unit; a keep rule then decides what stays.
"""

from __future__ import annotations

from collections.abc import Callable

from lwdna.methods.criteria.controls import random_widths, uniform
from lwdna.methods.criteria.latent import latent_gradient, latent_gradients
from lwdna.methods.criteria.problem import Loss, Problem, Scores, reset_norms

Criterion = Callable[[Problem], Scores]

CRITERIA: dict[str, Criterion] = {
    "latent-gradient": latent_gradient,
    "uniform": uniform,
    "random": random_widths,
}

__all__ = ["CRITERIA", "Criterion", "Loss", "Problem", "Scores", "latent_gradients", "reset_norms"]
