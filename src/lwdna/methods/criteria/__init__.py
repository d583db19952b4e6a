"""The table of criteria: how a unit's worth is judged, each from its paper.

A criterion maps a :class:`Problem` (a widened network, a few batches, a loss) to one score per
unit; a keep rule then decides what stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lwdna.methods.criteria.autoslim import autoslim, sandwich
from lwdna.methods.criteria.controls import random_widths, uniform
from lwdna.methods.criteria.fisher import fisher
from lwdna.methods.criteria.latent import latent_gradient, latent_gradients, latent_magnitude
from lwdna.methods.criteria.morphnet import penalised
from lwdna.methods.criteria.problem import Loss, Problem, Scores, reset_norms
from lwdna.methods.criteria.scales import batchnorm_scale, weight_norm
from lwdna.methods.criteria.snip import snip
from lwdna.methods.criteria.synflow import synflow, synflow_expectation
from lwdna.methods.criteria.taylor import taylor


@dataclass(frozen=True)
class Criterion:
    """How units are scored, in one line, and the paper it comes from."""

    score: Callable[[Problem], Scores]
    summary: str
    paper: str
    objective: Callable[[Problem], Loss] | None = None
    """What the warm-up before it minimises instead of the task's loss."""
    reads_latents: bool = False
    """Whether it judges the latents, so that the warm-up before it trains the hypernetwork."""
    draws_weights: bool = False
    """Whether it gives the network its weights itself, so that fresh ones need not be drawn."""
    ranks: bool = False
    """Whether scores are places in an order, which a threshold reads and a knapsack cannot add."""


CRITERIA: dict[str, Criterion] = {
    "latent-gradient": Criterion(
        latent_gradient,
        "size of the loss' gradient by each unit's latent",
        "Li 2021, LW-DNA, arXiv 2006.16242",
        reads_latents=True,
        draws_weights=True,
    ),
    "latent-magnitude": Criterion(
        latent_magnitude,
        "size of each unit's latent, after a proximal warm-up",
        "Li 2020, DHP, arXiv 2003.13683",
        reads_latents=True,
    ),
    "taylor": Criterion(
        taylor,
        "square of the loss' gradient by each unit's gate",
        "Molchanov 2019, arXiv 1906.10771",
    ),
    "snip": Criterion(
        snip,
        "sum of |w dL/dw| over each unit's weights",
        "Lee 2019, SNIP, arXiv 1810.02340",
    ),
    "fisher": Criterion(
        fisher,
        "squared gradients by each unit's gate, example by example",
        "Theis 2018, arXiv 1801.05787",
    ),
    "synflow": Criterion(
        synflow,
        "order of removal by synaptic flow, without data",
        "Tanaka 2020, SynFlow, arXiv 2006.05467",
        ranks=True,
    ),
    "synflow-expectation": Criterion(
        synflow_expectation,
        "what a unit adds to the logarithm of the expected synaptic flow",
        "Cai 2022, PreCrop, arXiv 2203.02549",
    ),
    "weight-norm": Criterion(
        weight_norm,
        "l1 norm of each unit's filters",
        "Li 2017, arXiv 1608.08710",
    ),
    "batchnorm-scale": Criterion(
        batchnorm_scale,
        "size of each unit's scale in batch normalisation, after a warm-up",
        "Liu 2017, Network Slimming, arXiv 1708.06519",
    ),
    "autoslim": Criterion(
        autoslim,
        "order of removal by greedy slimming, after a slimmable warm-up",
        "Yu 2019, AutoSlim, arXiv 1903.11728",
        objective=sandwich,
        ranks=True,
    ),
    "morphnet": Criterion(
        batchnorm_scale,
        "size of each unit's scale, after a warm-up that penalises scales by cost",
        "Gordon 2018, MorphNet, arXiv 1711.06798",
        objective=penalised,
    ),
    "uniform": Criterion(uniform, "the same fraction of every group", "control", ranks=True),
    "random": Criterion(random_widths, "a random fraction of every group", "control", ranks=True),
}

__all__ = [
    "CRITERIA",
    "Criterion",
    "Loss",
    "Problem",
    "Scores",
    "latent_gradients",
    "reset_norms",
]
