"""Peak activation memory as a closed form of the widths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lwdna.channels.graph.graph import Activation, AxisLayout

IntArray = npt.NDArray[np.int64]


def peak_memory(
    activations: Sequence[Activation], index: Mapping[AxisLayout, int]
) -> Callable[[IntArray], IntArray]:
    """Return a function from axis lengths, (N, axes), to the peak of N candidates in bytes, (N,).

    Args:
        activations: what is allocated, and from which operator to which it lives.
        index: the column of every axis that is not fixed.
    """
    rank = max((len(one.axes) for one in activations), default=0)
    counts = np.array([one.itemsize for one in activations], dtype=np.int64)
    factors = np.full((len(activations), rank), len(index), dtype=np.int64)  # a column of ones
    for row, one in enumerate(activations):
        for column, axis in enumerate(one.axes):
            if all(part.group < 0 for part in axis):
                counts[row] *= sum(part.outer * part.inner for part in axis)
            else:
                factors[row, column] = index[axis]
    # Memory changes at these events; at the same time, what is freed goes first.
    events = sorted(
        [(one.first, 1, row) for row, one in enumerate(activations)]
        + [(one.last + 1, 0, row) for row, one in enumerate(activations)]
    )
    rows = np.array([row for _, _, row in events], dtype=np.int64)
    signs = np.array([1 if born else -1 for _, born, _ in events], dtype=np.int64)

    def evaluate(lengths: IntArray) -> IntArray:
        padded = np.hstack([lengths, np.ones((len(lengths), 1), dtype=np.int64)])
        sizes = padded[:, factors].prod(axis=2) * counts
        peak: IntArray = (sizes[:, rows] * signs).cumsum(axis=1).max(axis=1, initial=0)
        return peak

    return evaluate
