"""Controls: widths that no data chose, without which a claim for a criterion means little."""

from __future__ import annotations

import torch

from lwdna.methods.criteria.problem import Problem, Scores
from lwdna.methods.criteria.table import register_criterion
from lwdna.methods.keep.units import even


@register_criterion("uniform", paper="control", ranks=True, keeps_weights=True)
def uniform(problem: Problem) -> Scores:
    """The same fraction of every group.

    Units score by rank, so that one threshold keeps as much of one group as of another.
    """
    return {name: even(torch.empty(width)) for name, width in problem.widths.items()}


@register_criterion("random", paper="control", ranks=True, keeps_weights=True)
def random_widths(problem: Problem) -> Scores:
    """A random fraction of every group.

    The ranks of every group are shifted by a draw of its own, uniform over the whole range of
    ranks: with floors of zero, a group may lose nearly everything or nothing.
    """
    generator = torch.Generator().manual_seed(problem.seed)
    shifts = torch.rand(len(problem.widths), generator=generator, dtype=torch.float64)
    return {
        name: even(torch.empty(width)) + shift
        for (name, width), shift in zip(problem.widths.items(), shifts, strict=True)
    }
