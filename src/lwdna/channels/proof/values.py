"""Find numbers that are computed from widths and enter the network's activations.

A scale such as ``x / x.shape[1] ** 0.5`` changes with the width, so a slice would not compute what
the whole network computes with the other channels silenced. When the network runs again at other
widths, such numbers differ from those of the first run, however they came there: as arguments of
operators, or as tensors that the network's code made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

from lwdna.channels.algebra.layout import Reason
from lwdna.channels.proof.freeze import Draft
from lwdna.channels.tracing.record import Record

MAX_REPLAYS = 64
"""Runs spent on finding the groups whose widths change values; then whole sets are inexact."""

Changed = Mapping[int, Reason]
"""By the number of an operator: why its values are others."""


def values_differ(
    func: Any, arguments: Mapping[str, Any], constants: Sequence[Tensor | None], record: Record
) -> bool:
    """Tell whether numbers enter an operator that were others when it was recorded."""
    if torch.Tag.nondeterministic_seeded in func.tags:  # a range to draw from
        return False
    names = list(arguments)
    for position in _numbers(func):
        if not _same_numbers(record.arguments[position], arguments[names[position]]):
            return True
    pairs = zip(record.constants, constants, strict=False)
    with unset_fake_temporarily():
        return any(not _same_values(before, now) for before, now in pairs)


def mark_inexact(
    draft: Draft, changed: Changed, changes: Callable[[Sequence[int]], Changed]
) -> bool:
    """Mark the groups whose widths change values; return whether there are any.

    Args:
        draft: a proven draft.
        changed: what changed when all groups moved.
        changes: tells what changes when some groups move.
    """
    found = False
    replays = 0

    def search(suspects: Sequence[int]) -> None:
        nonlocal found, replays
        replays += 1
        now = changes(suspects) if suspects else {}
        if not now:
            return
        if len(suspects) == 1 or replays > MAX_REPLAYS:
            found = True
            for group in suspects:
                draft.units[group].inexact = next(iter(now.values()))
            return
        search(suspects[: len(suspects) // 2])
        search(suspects[len(suspects) // 2 :])

    if not changed:
        return False
    for unit in draft.units:  # that a number is computed was seen: no search is needed
        if unit.inexact is None and unit.computed is not None:
            unit.inexact, found = unit.computed, True
    search([g for g, unit in enumerate(draft.units) if unit.inexact is None])
    return found


@cache
def _numbers(func: Any) -> tuple[int, ...]:
    """Return the positions of arguments that are values, not sizes: scalars, and tensors."""
    kinds = ("number", "float", "Tensor")
    return tuple(
        position
        for position, argument in enumerate(func._schema.arguments)
        if any(kind in str(argument.type) for kind in kinds)
    )


def _same_numbers(before: Any, now: Any) -> bool:
    if isinstance(before, tuple) and isinstance(now, list | tuple):
        return len(before) == len(now) and all(map(_same_numbers, before, now))
    if not isinstance(before, int | float | complex) or not isinstance(now, int | float | complex):
        return True
    return before == now or (before != before and now != now)


def _same_values(before: Tensor | None, now: Tensor | None) -> bool:
    """Tell whether values agree; along axes of another length all entries must be alike.

    A value is known in one run alone where it follows from a buffer that has another width.
    """
    if before is None or now is None:
        return True
    if before.ndim != now.ndim:
        return False
    moved = [axis for axis, size in enumerate(before.shape) if size != now.shape[axis]]
    if len(moved) == 2 and _is_identity(before, moved) and _is_identity(now, moved):
        return True
    for axis in moved:
        if not (_uniform(before, axis) and _uniform(now, axis)):
            return False
        before, now = before.narrow(axis, 0, 1), now.narrow(axis, 0, 1)
    return bool(((before == now) | ((before != before) & (now != now))).all())


def _is_identity(values: Tensor, axes: Sequence[int]) -> bool:
    """Tell whether matrices are the identity, which they stay if a channel goes."""
    matrices = values.movedim(tuple(axes), (-2, -1))
    rows, columns = matrices.shape[-2:]
    return rows == columns and bool((matrices == torch.eye(rows).to(values)).all())


def _uniform(values: Tensor, axis: int) -> bool:
    return values.shape[axis] > 0 and bool((values == values.narrow(axis, 0, 1)).all())
