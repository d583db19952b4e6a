"""Every group keeps the same share of its units, the best of them: pruning by local ranking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lwdna.methods.grid import ANY_WIDTH
from lwdna.methods.keep.table import Kept, register_keep_rule
from lwdna.methods.keep.threshold import keep_by_threshold
from lwdna.methods.keep.units import even

if TYPE_CHECKING:
    from torch import Tensor

    from lwdna.channels import ChannelGraph
    from lwdna.methods.limits import Limits


@register_keep_rule("local")
def keep_local(
    graph: ChannelGraph,
    scores: Mapping[str, Tensor],
    least: Mapping[str, int],
    limits: Limits,
    multiple: Mapping[str, int] = ANY_WIDTH,
) -> Kept:
    """The same share of every group stays, its best units.

    Scores are compared inside a group alone, so that their sizes in different layers do not matter;
    the widths are those of the control ``uniform``. As with ``threshold``, one unit more would
    exceed the budget.

    Args:
        graph: channel graph of the baseline.
        scores: one score per widened unit by group; only how many there are matters here.
        least: floor by group.
        limits: what the network may cost.
        multiple: of what widths are multiples, by group; groups left out take any width.

    Raises:
        BudgetError: the floors alone cost more than the budget, or the widened network less.
    """
    ranks = {name: even(values) for name, values in scores.items()}
    return Kept(keep_by_threshold(graph, ranks, least, limits, multiple).widths, None)
