"""What a network costs as a closed form of the widths: MACs, parameters, peak activation memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lwdna.channels.graph.axes import AxisLayout
from lwdna.channels.graph.operators import Operator

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cost:
    """What a network costs: MACs of one forward pass on the traced inputs, and parameters;
    ``memory`` is that pass' peak of activations in bytes, see :meth:`ChannelGraph.peak_memory`.

    One MAC is one multiply-accumulate of a convolution or matrix product; biases, normalisation
    and activations count zero, as in the field's tables. Half of what
    ``torch.utils.flop_counter`` counts.
    """

    macs: int
    params: int
    memory: int


@dataclass(frozen=True)
class LayerCost:
    """MACs and parameters of one module."""

    name: str
    op: str
    macs: int
    params: int


@dataclass(frozen=True)
class Activation:
    """Memory of a forward pass: bytes are ``itemsize`` times the product of the axes' lengths.

    It is held from operator number ``first``, which allocates it (0: the caller did), through
    operator number ``last``. All operators count, also those that no graph lists.
    """

    axes: tuple[AxisLayout, ...]
    itemsize: int
    first: int
    last: int


class ClosedForm:
    """The costs of many candidates at once: arrays of widths, (N, groups), to arrays (N,).

    Every axis' length is a sum of widths with constant factors, so the lengths of all axes are one
    matrix product; costs are sums of products of lengths.

    Args:
        groups: how many there are.
        operators: with their multiply-accumulates.
        parameters: the axes of every parameter.
        activations: what is allocated, and from which operator to which it lives.
    """

    def __init__(
        self,
        groups: int,
        operators: Iterable[Operator],
        parameters: Sequence[tuple[AxisLayout, ...]],
        activations: Sequence[Activation],
    ) -> None:
        self._macs = [(term.count, term.axes) for one in operators for term in one.terms]
        self._params = [(1, axes) for axes in parameters]
        self._activations = activations
        products = (*self._macs, *self._params, *((one.itemsize, one.axes) for one in activations))
        varying = [axis for _, axes in products for axis in axes if not axis.is_fixed]
        self._index = {axis: column for column, axis in enumerate(dict.fromkeys(varying))}
        # A matrix product of integers does not use BLAS; doubles are exact below 2**53.
        self._slopes = np.zeros((groups, len(self._index)))
        self._offsets = np.zeros(len(self._index), dtype=np.int64)
        for axis, column in self._index.items():
            self._offsets[column] = axis.constant
            for group, count in axis.per_unit:
                self._slopes[group, column] = count

    def costs(self, widths: npt.ArrayLike) -> tuple[IntArray, IntArray]:
        """Return MACs and parameters, each (N,)."""
        lengths = self._lengths(widths)
        macs, params = self._polynomials
        return macs.evaluate(lengths), params.evaluate(lengths)

    def peak_memory(self, widths: npt.ArrayLike) -> IntArray:
        """Return the most bytes of activations that are alive at once, (N,)."""
        return self._peak.evaluate(self._lengths(widths))

    def _lengths(self, widths: npt.ArrayLike) -> IntArray:
        whole = np.asarray(widths, dtype=np.int64)
        product = np.rint(whole.astype(np.float64) @ self._slopes)
        lengths: IntArray = product.astype(np.int64) + self._offsets
        return lengths

    @cached_property
    def _polynomials(self) -> tuple[_Polynomial, _Polynomial]:
        return _Polynomial(self._macs, self._index), _Polynomial(self._params, self._index)

    @cached_property
    def _peak(self) -> _Peak:
        return _Peak(self._activations, self._index)


class _Polynomial:
    """A sum of products of axis lengths, terms of equal degree evaluated together."""

    def __init__(
        self,
        products: Sequence[tuple[int, tuple[AxisLayout, ...]]],
        index: dict[AxisLayout, int],
    ) -> None:
        gathered: dict[tuple[int, ...], int] = {}
        for count, axes in products:
            factor, columns = _factors(axes, index)
            key = tuple(sorted(columns))
            gathered[key] = gathered.get(key, 0) + count * factor
        by_degree: dict[int, list[tuple[tuple[int, ...], int]]] = {}
        for key, count in gathered.items():
            by_degree.setdefault(len(key), []).append((key, count))
        self._terms = [
            (
                np.array([count for _, count in rows], dtype=np.int64),
                np.array([key for key, _ in rows], dtype=np.int64).reshape(len(rows), degree),
            )
            for degree, rows in sorted(by_degree.items())
        ]
        """Counts (T,) and columns of factors (T, degree)."""

    def evaluate(self, lengths: IntArray) -> IntArray:
        total = np.zeros(len(lengths), dtype=np.int64)
        for counts, factors in self._terms:
            total += (lengths[:, factors].prod(axis=2) * counts).sum(axis=1)
        return total


class _Peak:
    """The peak of what is alive: a running sum over the events that allocate and free."""

    def __init__(self, activations: Sequence[Activation], index: dict[AxisLayout, int]) -> None:
        rank = max((len(one.axes) for one in activations), default=0)
        self._counts = np.array([one.itemsize for one in activations], dtype=np.int64)
        self._factors = np.full((len(activations), rank), len(index), dtype=np.int64)  # of ones
        for row, one in enumerate(activations):
            factor, columns = _factors(one.axes, index)
            self._counts[row] *= factor
            self._factors[row, : len(columns)] = columns
        # Memory changes at these events; at the same time, what is freed goes first.
        events = sorted(
            [(one.first, 1, row) for row, one in enumerate(activations)]
            + [(one.last + 1, 0, row) for row, one in enumerate(activations)]
        )
        self._rows = np.array([row for _, _, row in events], dtype=np.int64)
        self._signs = np.array([1 if born else -1 for _, born, _ in events], dtype=np.int64)

    def evaluate(self, lengths: IntArray) -> IntArray:
        padded = np.hstack([lengths, np.ones((len(lengths), 1), dtype=np.int64)])
        sizes = padded[:, self._factors].prod(axis=2) * self._counts
        changes = sizes[:, self._rows] * self._signs
        peak: IntArray = changes.cumsum(axis=1).max(axis=1, initial=0)
        return peak


def _factors(axes: Sequence[AxisLayout], index: dict[AxisLayout, int]) -> tuple[int, list[int]]:
    """Return the product of the fixed axes' lengths, and the columns of the others."""
    factor = 1
    columns = []
    for axis in axes:
        if axis.is_fixed:
            factor *= axis.constant
        else:
            columns.append(index[axis])
    return factor, columns
