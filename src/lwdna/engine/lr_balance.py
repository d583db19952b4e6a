"""Learning rates that follow the gradients of two sets of matrices.

Where two matrices of a block shrink under one penalty, the one with the smaller gradients would be
emptied first. Li et al., "Group Sparsity: The Hinge Between Filter Pruning and Decomposition for
Network Compression", CVPR 2020 (arXiv 2003.08935), section 3.6, divide the learning rate of
everything but the second matrices by rho^1.35, where rho is a running mean of

    sum of the norms of the groups of dL/dA1  /  sum of the norms of the groups of dL/dA2

between 5/9 and 9/5. Their code averages with .1 of the old and .9 of the new value; here it is a
mean over about ten steps, .9 of the old and .1 of the new.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from lwdna.engine.settings import LrBalance
from lwdna.errors import TrainingError, nearest

OLD = 0.9
"""Share of the old value in the running mean."""
BOUNDS = (5 / 9, 9 / 5)
EXPONENT = 1.35
RATIO, SECOND = "lr_ratio", "lr_second"
"""What the optimizer's groups note, and with them a checkpoint: rho, whether a group is A2's."""


def second_of(model: nn.Module, settings: LrBalance) -> set[nn.Parameter]:
    """Return the second matrices: the parameters whose learning rate is not divided."""
    return set(_matching(model, settings.second))


def balance(optimizer: torch.optim.Optimizer, model: nn.Module, settings: LrBalance) -> None:
    """Let every step of an optimizer divide learning rates, whose groups know ``SECOND``.

    Raises:
        TrainingError: a pattern names no matrix.
    """
    first, second = (_matching(model, pattern) for pattern in (settings.first, settings.second))
    scheduled: list[float] = []

    def before(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        groups = optimizer.param_groups
        rho = _running(
            groups[0].get(RATIO),
            _size(first, settings.sides[0]) / max(_size(second, settings.sides[1]), 1e-30),
        )
        scheduled[:] = [group["lr"] for group in groups]
        for group in groups:
            group[RATIO] = rho
            if not group[SECOND]:
                group["lr"] = group["lr"] / rho**EXPONENT

    def after(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group, lr in zip(optimizer.param_groups, scheduled, strict=True):
            group["lr"] = lr

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)


def _running(old: float | None, new: float) -> float:
    """Return the running mean; a gradient that is not finite counts for nothing."""
    if not math.isfinite(new):
        return 1.0 if old is None else old
    mean = new if old is None else OLD * old + (1 - OLD) * new
    return min(max(mean, BOUNDS[0]), BOUNDS[1])


def _size(parameters: Sequence[nn.Parameter], side: str) -> float:
    """Return the sum of the norms of all rows (what is written) or columns (what is read)."""
    sizes: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is not None:
            matrix = parameter.grad.transpose(0, 1) if side == "read" else parameter.grad
            sizes.append(matrix.float().flatten(1).norm(dim=1).sum())
    return float(torch.stack(sizes).sum()) if sizes else math.nan


def _matching(model: nn.Module, pattern: str) -> list[nn.Parameter]:
    named = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    found = [parameter for name, parameter in named.items() if fnmatchcase(name, pattern)]
    if not found:
        hint = nearest(pattern, named) or f"; there are {', '.join(list(named)[:4])}, ..."
        raise TrainingError(f"lr_balance: {pattern!r} names no weight of a layer{hint}")
    return found
