"""The paper's keep rule: one threshold for all groups, and the budget that sets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lwdna.methods.grid import ANY_WIDTH
from lwdna.methods.keep.multiples import rounded
from lwdna.methods.keep.table import Kept, register_keep_rule

if TYPE_CHECKING:
    from torch import Tensor

    from lwdna.channels import ChannelGraph
    from lwdna.methods.limits import FloatArray, IntArray, Limits


@register_keep_rule("threshold")
def keep_by_threshold(
    graph: ChannelGraph,
    scores: Mapping[str, Tensor],
    least: Mapping[str, int],
    limits: Limits,
    multiple: Mapping[str, int] = ANY_WIDTH,
) -> Kept:
    """The best scores of all groups stay, under one threshold, as in the paper.

    Every group keeps at least its floor. The widths found are within one unit of the budget and
    never above it: with the next unit in the order of scores the network would exceed ``limits``.

    Args:
        graph: channel graph of the baseline.
        scores: one score per widened unit by group; larger is better.
        least: floor by group.
        limits: what the network may cost.
        multiple: of what widths are multiples, by group; groups left out take any width.

    Raises:
        BudgetError: the floors alone cost more than the budget, or the widened network less.
    """
    names = [group.name for group in graph.groups]
    full = {name: len(scores[name]) for name in names}
    limits.check_reachable(full, least)
    base = np.array([least[name] for name in names], dtype=np.int64)
    values, owners = _candidates(names, scores, least)

    def widths_at(count: int) -> IntArray:
        return base + np.bincount(owners[:count], minlength=len(names))

    low, high = 0, len(owners)  # affordable, not affordable
    while high - low > 1:
        middle = (low + high) // 2
        if limits.fits(widths_at(middle)[None])[0]:
            low = middle
        else:
            high = middle
    threshold = float(values[max(low - 1, 0)])
    widths = dict(zip(names, (int(w) for w in widths_at(low)), strict=True))
    return Kept(rounded(widths, scores, least, limits, multiple), threshold)


def _candidates(
    names: list[str], scores: Mapping[str, Tensor], least: Mapping[str, int]
) -> tuple[FloatArray, IntArray]:
    """Return the scores above the floors, best first, and the group each belongs to."""
    above = [np.sort(scores[name].double().numpy())[::-1][least[name] :] for name in names]
    values = np.concatenate(above)
    owners = np.repeat(np.arange(len(names)), [len(part) for part in above])
    order = np.argsort(-values, kind="stable")
    return values[order], owners[order]
