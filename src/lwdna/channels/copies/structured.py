"""Fresh weights of other shapes that keep the order of the old ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lwdna.channels.copies.structure import (
    Kind,
    Structure,
    collapsed,
    diagonal,
    orthogonal_blocks,
    structure_of,
)

Entries = Sequence[Tensor | None]
"""For each axis: the old entry whose place each new one takes; None where the length stays."""


@dataclass(frozen=True)
class Draw:
    """Draws tensors; calling it gives one of a new shape, in the order that the old one has."""

    generator: torch.Generator | None
    resample: Callable[[Tensor, Tensor, torch.Generator | None], None]
    """Fills a tensor with entries of another, drawn independently."""

    def __call__(
        self, old: Tensor, structure: Structure, shape: Sequence[int], entries: Entries
    ) -> Tensor:
        """Return a new tensor of ``shape``.

        Args:
            old: of which ``structure`` is known.
            structure: kept; what is random inside it is drawn anew.
            shape: with as many axes as ``old`` has.
            entries: say how old and new axes correspond.
        """
        match structure.kind:
            case Kind.CONSTANT:
                return old.new_full(tuple(shape), old.flatten()[0].item() if old.numel() else 0)
            case Kind.SAME:
                return self._same(old, structure, shape, entries)
            case Kind.RUNS | Kind.TILES:
                return self._repeated(old, structure, shape, entries)
            case Kind.DIAGONAL:
                return self._diagonal(old, structure, shape, entries)
            case Kind.ORTHOGONAL:
                return self._orthogonal(old, shape)
            case Kind.MASKED:
                return self._masked(old, structure.value, shape, entries)
            case Kind.UNEVEN:
                return self._by_slices(old, structure.axes, shape, entries)
            case Kind.DRAWN:
                return self._drawn(old, shape)
            case Kind.FIXED:
                return _in_place(old, entries)

    def _drawn(self, old: Tensor, shape: Sequence[int]) -> Tensor:
        new = old.new_empty(tuple(shape))
        self.resample(old.reshape(-1), new, self.generator)
        return new

    def _same(
        self, old: Tensor, structure: Structure, shape: Sequence[int], entries: Entries
    ) -> Tensor:
        axis = structure.axis
        assert structure.inside is not None
        inside = [None if i == axis else entry for i, entry in enumerate(entries)]
        one = self(old.narrow(axis, 0, 1), structure.inside, _with(shape, axis, 1), inside)
        return one.expand(*shape).clone()

    def _repeated(
        self, old: Tensor, structure: Structure, shape: Sequence[int], entries: Entries
    ) -> Tensor:
        axis, count = structure.axis, structure.count
        place = torch.arange(shape[axis], device=old.device)
        runs = structure.kind is Kind.RUNS
        length = math.ceil(shape[axis] / count) if runs else count
        slices = collapsed(old, structure)
        spread = torch.arange(length, device=old.device) * slices.shape[axis] // length
        inside = [spread if i == axis else one for i, one in enumerate(entries)]
        assert structure.inside is not None
        one = self(slices, structure.inside, _with(shape, axis, length), inside)
        return one.index_select(axis, place // count if runs else place % count)

    def _diagonal(
        self, old: Tensor, structure: Structure, shape: Sequence[int], entries: Entries
    ) -> Tensor:
        groups = structure.count
        if shape[0] % groups or tuple(shape[2:]) != old.shape[2:]:
            return _in_place(old, entries)
        on, mask = diagonal(old, groups)
        off = old[~mask].reshape(-1)
        new = off[:1].expand(*shape).clone() if structure.certain else self._drawn(off, shape)
        _, place = diagonal(new, groups)
        count = int(place.sum())
        spread = torch.arange(count, device=old.device) * len(on) // max(1, count)
        rest: list[Tensor | None] = [None] * (on.ndim - 1)
        new[place] = self(on, structure_of(on), (count, *on.shape[1:]), [spread, *rest])
        return new

    def _orthogonal(self, old: Tensor, shape: Sequence[int]) -> Tensor:
        blocks = orthogonal_blocks(old)
        if shape[0] % blocks:
            blocks = 1
        rows = old.reshape(len(old), -1).float()
        upright = blocks > 1 or len(rows) <= rows.shape[1]
        gain = float((rows[0] if upright else rows[:, 0]).norm())
        new = torch.empty(tuple(shape))
        for block in new.chunk(blocks):
            nn.init.orthogonal_(block, gain, self.generator)
        return new.to(old)

    def _masked(self, old: Tensor, value: float, shape: Sequence[int], entries: Entries) -> Tensor:
        mask = old == value
        drawn = ~_in_place(mask, entries)
        new = old.new_full(tuple(shape), value)
        new[drawn] = self._drawn(old[~mask], (int(drawn.sum()),))
        return new

    def _by_slices(
        self, old: Tensor, axes: Sequence[int], shape: Sequence[int], entries: Entries
    ) -> Tensor:
        """Draw each slice from the one whose place it takes."""
        while len(axes) > 1 and old.numel() < 8 * math.prod(old.shape[axis] for axis in axes):
            axes = axes[:-1]
        others = [axis for axis in range(old.ndim) if axis not in axes]
        order = [*axes, *others]
        length = math.prod(shape[axis] for axis in others)
        pool = _in_place(old, [entry if i in axes else None for i, entry in enumerate(entries)])
        pool = pool.permute(order).reshape(-1, math.prod(old.shape[axis] for axis in others))
        chosen = torch.randint(pool.shape[1], (len(pool), length), generator=self.generator)
        new = pool.gather(1, chosen.to(old.device)).reshape([shape[axis] for axis in order])
        return new.permute([order.index(axis) for axis in range(old.ndim)])


def _in_place(old: Tensor, entries: Entries) -> Tensor:
    """Give every new entry the value of the old one whose place it takes."""
    for axis, chosen in enumerate(entries):
        if chosen is not None:
            old = old.index_select(axis, chosen.to(old.device))
    return old


def _with(shape: Sequence[int], axis: int, length: int) -> tuple[int, ...]:
    return (*shape[:axis], length, *shape[axis + 1 :])
