"""The channel graph: which axes share a width, and what every operator costs.

A :class:`ChannelGraph` is plain data: names, sizes and layouts, no tensors and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lwdna.channels.algebra.layout import Reason
from lwdna.channels.graph import describe
from lwdna.channels.graph.edits import Edits
from lwdna.channels.graph.memory import peak_memory
from lwdna.channels.graph.operators import OperatorCall
from lwdna.errors import GraphError, nearest

IntArray = npt.NDArray[np.int64]


class Part(NamedTuple):
    """``outer * width(group) * inner`` channels of an axis; ``group`` -1 is a fixed run."""

    outer: int
    group: int
    inner: int


AxisLayout = tuple[Part, ...]


class Member(NamedTuple):
    """An axis of a parameter or buffer whose length depends on a group."""

    tensor: str
    axis: int


@dataclass(frozen=True)
class Group:
    """Channels that can only be removed together; ``width`` counts how many such units there are.

    ``exact`` is None where removing units from trained weights is exact, else the reason why only
    the number of units is free.
    """

    name: str
    width: int
    members: tuple[Member, ...]
    inexact: Reason | None = None
    feeds_output: bool = False

    @property
    def exact(self) -> bool:
        """Whether a slice computes what the network with silenced channels computes."""
        return self.inexact is None


@dataclass(frozen=True)
class Pinned:
    """An axis of a parameter that keeps its length, or part of it, and why."""

    tensor: str
    axis: int
    size: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Operation:
    """Multiply-accumulates of one operator call: ``count`` times the product of axis lengths.

    ``produces`` are the channels of its result.
    """

    op: str
    module: str
    count: int
    axes: tuple[AxisLayout, ...]
    produces: tuple[AxisLayout, ...] = ()


@dataclass(frozen=True)
class Activation:
    """Memory of a forward pass: bytes are ``itemsize`` times the product of the axes' lengths.

    It is held from operator number ``first``, which allocates it (0: the caller did), through
    operator number ``last``.
    """

    axes: tuple[AxisLayout, ...]
    itemsize: int
    first: int
    last: int


@dataclass(frozen=True)
class Attribute:
    """An integer (or one of a sequence of integers) of a module that follows an axis' length."""

    module: str
    name: str
    index: int | None
    axis: AxisLayout


class Metadata(NamedTuple):
    """A size that a module keeps for its users: attribute, then keys and indices inside it."""

    module: str
    path: tuple[str | int, ...]
    axis: AxisLayout


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
class ChannelGraph:
    """Groups of channels of a network, and its cost as a closed form of their widths."""

    groups: tuple[Group, ...]
    tensors: Mapping[str, tuple[AxisLayout, ...]]
    """Layouts of every parameter and buffer, by name."""
    parameters: tuple[str, ...]
    operations: tuple[Operation, ...]
    activations: tuple[Activation, ...] = ()
    calls: tuple[OperatorCall, ...] = ()
    """All operators of a forward pass in evaluation mode, in order."""
    pinned: tuple[Pinned, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    unknown_ops: tuple[str, ...] = ()
    metadata: tuple[Metadata, ...] = ()
    edits: Edits = field(default_factory=Edits)
    """What was decided by hand."""
    remade: tuple[str, ...] = ()
    """Buffers that the network makes anew while it runs, of whatever shape."""
    _forms: dict[AxisLayout, int] = field(default_factory=dict, init=False, repr=False)

    @property
    def widths(self) -> dict[str, int]:
        """Width of every group, in the network as traced."""
        return {group.name: group.width for group in self.groups}

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of every group by name."""
        return {group.name: position for position, group in enumerate(self.groups)}

    def complete(self, widths: Mapping[str, int] | None) -> dict[str, int]:
        """Check widths by group name and fill in the traced width of groups not named.

        Raises:
            GraphError: an unknown group or a width below one.
        """
        full = self.widths
        for name, width in (widths or {}).items():
            if name not in full:
                raise GraphError(f"there is no group {name!r}{nearest(name, full)}")
            if int(width) < 1:
                raise GraphError(f"group {name!r} cannot have width {width}; the least is 1")
            full[name] = int(width)
        return full

    def at(self, widths: Mapping[str, int]) -> ChannelGraph:
        """Return the graph of the same network at other widths."""
        full = self.complete(widths)
        groups = tuple(replace(group, width=full[group.name]) for group in self.groups)
        return replace(self, groups=groups)

    def length(self, axis: AxisLayout, widths: Mapping[str, int]) -> int:
        """Return the length of an axis at the given (complete) widths."""
        return sum(
            part.outer
            * part.inner
            * (1 if part.group < 0 else widths[self.groups[part.group].name])
            for part in axis
        )

    def shape(self, tensor: str, widths: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape of a parameter or buffer at the given (complete) widths."""
        return tuple(self.length(axis, widths) for axis in self.tensors[tensor])

    def cost(self, widths: Mapping[str, int] | None = None) -> Cost:
        """Return MACs, parameters and peak memory at the given widths (default: as traced)."""
        full = self.complete(widths)
        row = np.array([[full[group.name] for group in self.groups]], dtype=np.int64)
        macs, params = self.costs(row)
        return Cost(int(macs[0]), int(params[0]), int(self.peak_memory(row)[0]))

    def costs(self, widths: npt.ArrayLike) -> tuple[IntArray, IntArray]:
        """Return MACs and parameters, each (N,), of N candidates: widths (N, groups)."""
        macs, params = self._polynomials
        lengths = self._lengths(np.asarray(widths, dtype=np.int64))
        return macs.evaluate(lengths), params.evaluate(lengths)

    def peak_memory(self, widths: npt.ArrayLike) -> IntArray:
        """Return the most bytes of activations alive at once, (N,), at widths (N, groups).

        Of one forward pass in evaluation mode without gradients: the network's inputs and every
        result of an operator, from the operator that allocates it until Python lets go of it.
        Views and in-place operators share memory; parameters, buffers and what a kernel needs for
        itself are not counted.
        """
        lengths = self._lengths(np.asarray(widths, dtype=np.int64))
        return self._peak_memory(lengths)

    def layers(self, widths: Mapping[str, int] | None = None) -> list[LayerCost]:
        """Return the cost of each module that has MACs or parameters, in execution order."""
        full = self.complete(widths)
        macs: dict[str, int] = {}
        ops: dict[str, str] = {}
        params: dict[str, int] = {}
        for operation in self.operations:
            product = operation.count
            for axis in operation.axes:
                product *= self.length(axis, full)
            macs[operation.module] = macs.get(operation.module, 0) + product
            ops.setdefault(operation.module, operation.op)
        for name in self.parameters:
            module = name.rpartition(".")[0]
            count = int(np.prod(self.shape(name, full), dtype=np.int64))
            params[module] = params.get(module, 0) + count
        return [
            LayerCost(name, ops.get(name, ""), macs.get(name, 0), params.get(name, 0))
            for name in dict.fromkeys([*macs, *params])
        ]

    def report(self) -> str:
        """Return a text: groups with members and share of MACs, pins and why, unknown operators."""
        return describe.report(self)

    @cached_property
    def _matrix(self) -> tuple[IntArray, IntArray, dict[AxisLayout, int]]:
        axes = {axis for operation in self.operations for axis in operation.axes}
        axes |= {axis for name in self.parameters for axis in self.tensors[name]}
        axes |= {axis for activation in self.activations for axis in activation.axes}
        index = {axis: row for row, axis in enumerate(sorted(axes))}
        slopes = np.zeros((len(self.groups), len(index)), dtype=np.int64)
        offsets = np.zeros(len(index), dtype=np.int64)
        for axis, row in index.items():
            for part in axis:
                if part.group < 0:
                    offsets[row] += part.outer * part.inner
                else:
                    slopes[part.group, row] += part.outer * part.inner
        return slopes, offsets, index

    def _lengths(self, widths: IntArray) -> IntArray:
        slopes, offsets, _ = self._matrix
        # A matrix product of integers does not use BLAS; doubles are exact below 2**53.
        product = widths.astype(np.float64) @ slopes.astype(np.float64)
        lengths: IntArray = np.rint(product).astype(np.int64) + offsets
        return lengths

    @cached_property
    def _peak_memory(self) -> Callable[[IntArray], IntArray]:
        return peak_memory(self.activations, self._matrix[2])

    @cached_property
    def _polynomials(self) -> tuple[_Polynomial, _Polynomial]:
        _, _, index = self._matrix
        macs = _Polynomial.of(
            [(operation.count, operation.axes) for operation in self.operations], index
        )
        params = _Polynomial.of([(1, self.tensors[name]) for name in self.parameters], index)
        return macs, params


@dataclass(frozen=True)
class _Polynomial:
    """A sum of products of axis lengths, terms of equal degree evaluated together."""

    terms: tuple[tuple[IntArray, IntArray], ...]
    """Pairs of counts (T,) and rows of factors (T, degree)."""

    @staticmethod
    def of(
        terms: Sequence[tuple[int, Sequence[AxisLayout]]], index: Mapping[AxisLayout, int]
    ) -> _Polynomial:
        gathered: dict[tuple[int, ...], int] = {}
        for count, axes in terms:
            factors: list[int] = []
            for axis in axes:
                if all(part.group < 0 for part in axis):
                    count *= sum(part.outer * part.inner for part in axis)
                else:
                    factors.append(index[axis])
            key = tuple(sorted(factors))
            gathered[key] = gathered.get(key, 0) + count
        by_degree: dict[int, list[tuple[tuple[int, ...], int]]] = {}
        for key, count in gathered.items():
            by_degree.setdefault(len(key), []).append((key, count))
        return _Polynomial(
            tuple(
                (
                    np.array([count for _, count in rows], dtype=np.int64),
                    np.array([key for key, _ in rows], dtype=np.int64).reshape(len(rows), degree),
                )
                for degree, rows in sorted(by_degree.items())
            )
        )

    def evaluate(self, lengths: IntArray) -> IntArray:
        total = np.zeros(len(lengths), dtype=np.int64)
        for counts, factors in self.terms:
            total += (lengths[:, factors].prod(axis=2) * counts).sum(axis=1)
        return total
