"""Latency of a network at any widths: measured times of its operators, interpolated and added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from lwdna.channels import ChannelGraph
from lwdna.channels.graph.operators import Operator
from lwdna.engine.operator_times import Job, OperatorTimes

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FACTORS = (0.25, 0.5, 1.0, 2.0)
"""Multiples of the traced widths at which operators are measured."""


@dataclass(frozen=True)
class _Table:
    """Milliseconds on a grid of two coordinates, each a sum of widths with coefficients."""

    coefficients: FloatArray
    """(2, groups); the second row is zero where there is one coordinate only."""
    grid: FloatArray
    """(2, len(FACTORS)), ascending"""
    times: FloatArray
    """(len(FACTORS), len(FACTORS)); per unit of the coordinate where there is one only."""


class LatencyModel:
    """Latency in milliseconds of one forward pass in evaluation mode, as traced.

    Every operator is measured alone, at its real shapes, for a grid of widths of the groups it
    depends on. Times are bilinear between grid points where input and output have groups of their
    own. Elsewhere they depend on one width, or on the joint scale of several, and the time per
    channel is linear between grid points, because a convolution's weight may grow with the
    square. Operators that only view memory, and those whose other
    arguments fit no other widths, are measured as traced.

    Measuring takes from seconds to minutes the first time and is kept, see
    :class:`~lwdna.engine.operator_times.OperatorTimes`.
    """

    def __init__(self, graph: ChannelGraph, device: torch.device | str = "cpu") -> None:
        self.graph = graph
        self._base = np.array([group.width for group in graph.groups], dtype=np.int64)
        grids = [_Grid.of(operator, self._base) for operator in graph.operators]
        times = OperatorTimes(torch.device(device))
        size = range(len(FACTORS))
        jobs = {
            (i, j): [
                self._job(operator, grid.widths(i, j))
                for operator, grid in zip(graph.operators, grids, strict=True)
            ]
            for i in size
            for j in size
        }
        jobs[-1, -1] = [self._job(operator, self._base) for operator in graph.operators]
        for one in jobs.values():
            times.learn(one)
        self._constant = 0.0
        tables: dict[bytes, _Table] = {}
        for position, grid in enumerate(grids):
            found = [[times.milliseconds(jobs[i, j][position]) for j in size] for i in size]
            if not grid.sides or any(one is None for row in found for one in row):
                self._constant += times.milliseconds(jobs[-1, -1][position]) or 0.0
                continue
            table = grid.table(np.array(found, dtype=np.float64))
            key = table.coefficients.tobytes() + table.grid.tobytes()
            if key in tables:  # operators over the same channels make one table
                table = replace(table, times=table.times + tables[key].times)
            tables[key] = table
        self._stack(list(tables.values()))

    def __call__(self, widths: npt.ArrayLike) -> FloatArray:
        """Return the latency in milliseconds of N candidates, (N,), at widths (N, groups)."""
        candidates = np.asarray(widths, dtype=np.float64)
        coordinates = (candidates @ self._coefficients).reshape(len(candidates), -1, 2)
        cells, shares = self._locate(coordinates)
        rows = np.arange(len(self._tables))
        total = np.zeros(coordinates.shape[:2])
        for i in (0, 1):
            for j in (0, 1):
                weight = _share(shares[..., 0], i) * _share(shares[..., 1], j)
                total += weight * self._tables[rows, cells[..., 0] + i, cells[..., 1] + j]
        total *= np.where(self._alone, coordinates[..., 0], 1)
        latency: FloatArray = self._constant + np.maximum(total, 0).sum(axis=1)
        return latency

    def _stack(self, tables: Sequence[_Table]) -> None:
        size = len(FACTORS)
        coefficients = np.array([t.coefficients for t in tables])
        self._coefficients = coefficients.reshape(-1, len(self._base)).T
        self._alone = np.array([not t.coefficients[1].any() for t in tables], dtype=bool)
        self._grid = np.array([t.grid for t in tables]).reshape(-1, 2, size)
        self._tables = np.array([t.times for t in tables]).reshape(-1, size, size)

    def _locate(self, coordinates: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the grid cell of every coordinate and where in it; outside beyond 0 and 1."""
        inner = self._grid[None, :, :, 1:-1]
        cells: IntArray = (coordinates[..., None] >= inner).sum(axis=-1)
        table, side = np.ogrid[: self._grid.shape[0], :2]
        low = self._grid[table, side, cells]
        high = self._grid[table, side, cells + 1]
        return cells, (coordinates - low) / (high - low)

    def _job(self, operator: Operator, widths: IntArray) -> Job:
        plain = [int(width) for width in widths]
        shapes = tuple(tuple(axis.length(plain) for axis in form.axes) for form in operator.inputs)
        return Job(operator, shapes)


@dataclass(frozen=True)
class _Grid:
    """Widths at which an operator is measured: those of up to two sides vary, on their own."""

    base: IntArray
    sides: tuple[dict[int, int], ...]
    """Groups and their coefficients in the coordinate of the side."""
    points: tuple[tuple[tuple[int, ...], ...], ...]
    """For each side its groups' widths, len(FACTORS) times."""

    @classmethod
    def of(cls, operator: Operator, base: IntArray) -> _Grid:
        sides = () if _is_view(operator) else _sides(operator)
        return cls(base, sides, tuple(_points(base[list(side)]) for side in sides))

    def widths(self, *indices: int) -> IntArray:
        """Return the widths of all groups at a grid point."""
        widths = self.base.copy()
        for side, points, index in zip(self.sides, self.points, indices, strict=False):
            widths[list(side)] = points[index]
        return widths

    def table(self, times: FloatArray) -> _Table:
        coefficients = np.zeros((2, len(self.base)))
        axis = np.tile(np.arange(len(FACTORS), dtype=np.float64), (2, 1))
        for row, (side, points) in enumerate(zip(self.sides, self.points, strict=True)):
            values = np.array(list(side.values()), dtype=np.float64)
            coefficients[row, list(side)] = values
            axis[row] = [values @ np.array(point) for point in points]
        if len(self.sides) == 1:
            times = times / axis[0][:, None]
        return _Table(coefficients, axis, times)


def _points(base: IntArray) -> tuple[tuple[int, ...], ...]:
    points: dict[tuple[int, ...], None] = {}
    for factor in (*FACTORS, 3.0, 4.0, 6.0, 8.0):  # the last where widths are tiny
        points[tuple(max(1, round(int(width) * factor)) for width in base)] = None
    return tuple(points)[: len(FACTORS)]


def _share(where: FloatArray, corner: int) -> FloatArray:
    return where if corner else 1 - where


def _sides(operator: Operator) -> tuple[dict[int, int], ...]:
    """Return the groups of an operator by side: those that occur on the same axes together.

    With more than two sides all groups make one. The values are the groups' coefficients in the
    coordinate of their side.
    """
    places: dict[int, list[tuple[int, int]]] = {}
    coefficients: dict[int, int] = {}
    for tensor, form in enumerate(operator.inputs):
        for axis, layout in enumerate(form.axes):
            for outer, group, inner in layout.parts:
                if group is not None:
                    places.setdefault(group, []).append((tensor, axis))
                    coefficients.setdefault(group, outer * inner)
    sides: dict[tuple[tuple[int, int], ...], dict[int, int]] = {}
    for group, where in places.items():
        key = tuple(dict.fromkeys(where))
        sides.setdefault(key, {})[group] = coefficients[group]
    if len(sides) > 2:
        return (coefficients,)
    return tuple(sides.values())


def _is_view(operator: Operator) -> bool:
    """Return whether an operator only looks at its input in another way."""
    schema = operator.overload._schema
    return (
        "view" in schema.name
        or "as_strided" in schema.name
        or any(
            result.alias_info is not None and not result.alias_info.is_write
            for result in schema.returns
        )
    )
