"""Controls: widths that no data chose, without which a claim for a criterion means little."""

from __future__ import annotations

import torch
from torch import Tensor

from lwdna.methods.criteria.problem import Problem, Scores


def uniform(problem: Problem) -> Scores:
    """Score units by rank, so that one threshold keeps the same fraction of every group."""
    return {name: _ranks(width) for name, width in problem.widths.items()}


def random_widths(problem: Problem) -> Scores:
    """Shift the ranks of every group by a draw of its own, so that the fractions kept are random.

    The shifts are uniform over the whole range of ranks: with floors of zero, a group may lose
    nearly everything or nothing.
    """
    generator = torch.Generator().manual_seed(problem.seed)
    shifts = torch.rand(len(problem.widths), generator=generator, dtype=torch.float64)
    return {
        name: _ranks(width) + shift
        for (name, width), shift in zip(problem.widths.items(), shifts, strict=True)
    }


def _ranks(width: int) -> Tensor:
    """Return evenly spaced scores in (0, 1), the first unit's the best."""
    return 1 - (torch.arange(width, dtype=torch.float64) + 0.5) / width
