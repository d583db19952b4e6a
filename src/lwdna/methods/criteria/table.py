"""The table of criteria: how a unit's importance is judged, each from its paper.

A criterion maps a :class:`lwdna.methods.criteria.Problem` (a widened network, a few batches, a
loss) to one score per unit by group; a keep rule then decides what stays. The table itself needs no
torch, so that recipes can check a criterion's name without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lwdna.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    Score = Callable[..., dict[str, Tensor]]
    """Takes a problem: it holds the settings, which check names by this table."""


@dataclass(frozen=True)
class Criterion:
    """How units are scored, and the paper it comes from."""

    score: Score
    paper: str
    objective: Callable[..., Any] | None = None
    """Maps the problem to the loss that the warm-up minimises instead of the task's loss."""
    reads_latents: bool = False
    """Whether it judges the latents, so that the warm-up before it trains the hypernetwork."""
    draws_weights: bool = False
    """Whether it gives the network its weights itself, so that fresh ones need not be drawn."""
    ranks: bool = False
    """Whether scores are places in an order, which a threshold reads and a knapsack cannot add."""
    keeps_weights: bool = False
    """Whether it leaves the parameters as they are, so that no second copy need be held."""


F = TypeVar("F", bound="Score")

CRITERIA: Registry[Criterion] = Registry(
    "criterion", "lwdna.methods.criteria", "register_criterion"
)
"""The criteria by the name that recipes give them."""


def register_criterion(
    name: str,
    *,
    paper: str,
    objective: Callable[..., Any] | None = None,
    reads_latents: bool = False,
    draws_weights: bool = False,
    ranks: bool = False,
    keeps_weights: bool = False,
) -> Callable[[F], F]:
    """Return a decorator that puts a function into the table of criteria.

    The first line of the function's docstring is what ``lwdna list criteria`` says of it.

    Args:
        name: what recipes call the criterion.
        paper: where it comes from, or ``control``.
        objective: maps the problem to the loss that a warm-up before it minimises; default: the
            task's own.
        reads_latents: it judges the latents, so that a warm-up trains the hypernetwork.
        draws_weights: it gives the network its weights itself.
        ranks: its scores are places in an order, which cannot be added up.
        keeps_weights: it leaves the network's parameters as they are; buffers and gradients may
            change. Others are given a copy where the weights are needed afterwards.

    Raises:
        ValueError: another function has that name.

    Example:
        >>> @register_criterion("first", paper="control", ranks=True)
        ... def first(problem):
        ...     '''The first units of every group.'''
        ...     return {name: -torch.arange(width) for name, width in problem.widths.items()}
    """

    def register(function: F) -> F:
        given = function, paper, objective, reads_latents, draws_weights, ranks, keeps_weights
        criterion = Criterion(*given)
        CRITERIA.add(name, criterion, function, {"paper": paper})
        return function

    return register
