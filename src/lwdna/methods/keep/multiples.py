"""Widths rounded to multiples, and repaired to the budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lwdna.errors import BudgetError

if TYPE_CHECKING:
    from torch import Tensor

    from lwdna.methods.limits import Limits


def rounded(
    widths: dict[str, int],
    scores: Mapping[str, Tensor],
    least: Mapping[str, int],
    limits: Limits,
    multiple: int,
) -> dict[str, int]:
    """Round to multiples, then remove the worst or add the best multiples to meet the budget."""
    names = list(widths)
    ranked = {name: scores[name].double().sort(descending=True).values for name in names}
    lowest = {name: _round_up(least[name], multiple, len(scores[name])) for name in names}
    result = {
        name: min(max(round(width / multiple) * multiple, lowest[name]), len(scores[name]))
        for name, width in widths.items()
    }

    def fits() -> bool:
        return bool(limits.fits([[result[name] for name in names]])[0])

    def step_score(name: str, start: int) -> float:
        return float(ranked[name][start : start + multiple].mean())

    while not fits():
        removable = [name for name in names if result[name] - multiple >= lowest[name]]
        if not removable:
            raise BudgetError(
                f"no widths that are multiples of {multiple} meet the budget of "
                f"{limits}; raise the budget or lower multiple or the floors"
            )
        worst = min(removable, key=lambda name: step_score(name, result[name] - multiple))
        result[worst] -= multiple
    growable = [name for name in names if result[name] + multiple <= len(scores[name])]
    while growable:
        best = max(growable, key=lambda name: step_score(name, result[name]))
        result[best] += multiple
        if not fits():
            result[best] -= multiple
            growable.remove(best)
        elif result[best] + multiple > len(scores[best]):
            growable.remove(best)
    return result


def _round_up(width: int, multiple: int, most: int) -> int:
    return min(-(-width // multiple) * multiple, most)
