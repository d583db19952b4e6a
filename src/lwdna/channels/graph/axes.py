"""What the entries of a tensor's axis are, in terms of groups of channels."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

GroupWidths = Sequence[int] | Mapping[int, int]
"""The width of every group by its position in the graph."""


class Part(NamedTuple):
    """``outer * width(group) * inner`` entries of an axis, row-major; without a group, a fixed run.

    Entry ``(o, u, i)`` belongs to unit ``u`` of the group.
    """

    outer: int
    group: int | None
    inner: int


@dataclass(frozen=True, slots=True)
class AxisLayout:
    """The parts of an axis, one after the other; groups are named by their position in the graph.

    >>> AxisLayout((Part(1, 0, 1), Part(2, 1, 3), Part(1, None, 5))).length([7, 11])
    78
    """

    parts: tuple[Part, ...]
    groups: tuple[int, ...] = field(init=False, compare=False, repr=False)
    """The groups on the axis, each once, in the order in which they first occur."""
    per_unit: tuple[tuple[int, int], ...] = field(init=False, compare=False, repr=False)
    """Each of the groups, and how many entries one unit of it has."""
    constant: int = field(init=False, compare=False, repr=False)
    """How many entries belong to no group."""

    def __post_init__(self) -> None:
        constant = 0
        found: dict[int, int] = {}
        for outer, group, inner in self.parts:
            if group is None:
                constant += outer * inner
            else:
                found[group] = found.get(group, 0) + outer * inner
        object.__setattr__(self, "groups", tuple(found))
        object.__setattr__(self, "per_unit", tuple(found.items()))
        object.__setattr__(self, "constant", constant)

    @staticmethod
    def fixed(size: int) -> AxisLayout:
        """Return the layout of an axis whose length never changes."""
        return AxisLayout((Part(1, None, size),))

    @property
    def is_fixed(self) -> bool:
        """Whether the axis has the same length at all widths."""
        return not self.groups

    def length(self, widths: GroupWidths) -> int:
        """Return the number of entries."""
        total = self.constant
        for group, count in self.per_unit:
            total += count * widths[group]
        return total

    def repeated(self, count: int) -> AxisLayout:
        """Return the layout of ``count`` such axes one after the other."""
        return AxisLayout(self.parts * count)

    def runs(self, widths: GroupWidths) -> Iterator[tuple[Part, int, int]]:
        """Yield every part with the number of its first entry and of the one after its last."""
        start = 0
        for part in self.parts:
            outer, group, inner = part
            end = start + outer * inner * (1 if group is None else widths[group])
            yield part, start, end
            start = end

    def split(self, values: Tensor, widths: GroupWidths) -> Iterator[tuple[int | None, Tensor]]:
        """Take an axis apart: yield the group of every part, and its values.

        Args:
            values: (..., C), of which the last axis is this one.
            widths: at which it has C entries.

        Yields:
            The group and a view or copy (..., outer, units, inner); for a fixed run None and
            (..., outer, 1, inner).
        """
        for (outer, group, inner), start, end in self.runs(widths):
            width = 1 if group is None else widths[group]
            piece = values[..., start:end]
            yield group, piece.reshape(*values.shape[:-1], outer, width, inner)

    def spread(
        self, vectors: Sequence[Tensor] | nn.ParameterList, among: Container[int] | None = None
    ) -> Tensor:
        """Give every entry the value of its unit.

        Args:
            vectors: one value per unit, (n,), for every group in the graph's order.
            among: the groups that count; default all.

        Returns:
            (C,), with ones for the entries of fixed runs and of groups that do not count.
        """
        pieces = []
        for outer, group, inner in self.parts:
            if group is None:
                pieces.append(vectors[0].new_ones(outer * inner))
            elif among is not None and group not in among:
                pieces.append(vectors[0].new_ones(outer * len(vectors[group]) * inner))
            else:
                unit = vectors[group][None, :, None]
                pieces.append(unit.expand(outer, -1, inner).reshape(-1))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
