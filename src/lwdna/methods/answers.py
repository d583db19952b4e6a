"""What criteria and keep rules answer is checked: anybody may write one, and a search trusts it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lwdna.errors import RecipeError, TrainingError
from lwdna.methods.space import Space


def check_scores(scores: Mapping[str, Tensor], units: Mapping[str, int], criterion: str) -> None:
    """Make sure that there is a finite score for every unit.

    Args:
        scores: by group, (n,).
        units: how many units each group has.
        criterion: who gave the scores.

    Raises:
        RecipeError: a group is missing or has another number of scores.
        TrainingError: a score is not finite.
    """
    for name, count in units.items():
        found = scores.get(name)
        if not isinstance(found, Tensor) or found.shape != (count,):
            given = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise RecipeError(
                f"the criterion {criterion} gives {given} for the group {name!r}; it must return "
                f"one tensor for every group, here of shape [{count}]"
            )
        if not bool(torch.isfinite(found).all()):
            raise TrainingError(
                f"the criterion {criterion} gives scores that are not finite for the group "
                f"{name!r}; check the data, or choose another criterion (shrink.criterion)"
            )


def check_widths(widths: Mapping[str, int], space: Space, rule: str) -> None:
    """Make sure that widths lie between floors and widened widths and within the budget.

    Args:
        widths: by group.
        space: floors, widened widths and limits.
        rule: who gave the widths.

    Raises:
        RecipeError: they do not.
    """
    for name, most in space.most.items():
        width, least = widths.get(name), space.least[name]
        if width is None or not least <= width <= most:
            raise RecipeError(
                f"the keep rule {rule} gives the group {name!r} the width {width}; it must give "
                f"every group one, here from {least} to {most}"
            )
    row = [[widths[group.name] for group in space.limits.graph.groups]]
    if not space.limits.fits(row)[0]:
        raise RecipeError(
            f"the keep rule {rule} gives widths that exceed the budget of {space.limits}; it must "
            "keep limits.fits"
        )
