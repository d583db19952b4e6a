"""Scores that one threshold may compare across groups."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lwdna.methods.criteria.problem import Scores
from lwdna.methods.settings import ShrinkSettings

NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "group-mean": Tensor.mean,
    "group-l2": torch.linalg.vector_norm,
}
"""By what the scores of a group are divided. The l2 norm: Molchanov et al., ICLR 2017, equation 8
(arXiv 1611.06440)."""


def comparable(scores: Scores, settings: ShrinkSettings) -> Scores:
    """Return scores normalised and reversed as the settings say."""
    if settings.normalize != "none":
        size = NORMS[settings.normalize]
        scores = {name: s / size(s).clamp_min(1e-30) for name, s in scores.items()}
    return {name: -s for name, s in scores.items()} if settings.reverse else scores
