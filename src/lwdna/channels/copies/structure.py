"""The order that a constructor put into a tensor, which drawing its entries anew would lose.

Most weights start as independent draws from one distribution. Some do not: kernels that blur or
sum up by fixed numbers, identities, equal filters for the pixels that a shuffle makes of one
channel (ICNR, Aitken et al. 2017, arXiv 1707.02937), orthogonal matrices (Saxe et al. 2014,
arXiv 1312.6120), ranges of scales, tables of sines, parts of an axis with spreads of their own.
One network shows no more than one draw; so each test below asks for what independent draws would
show less than once in many thousands of networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto

import torch
from torch import Tensor

SCREEN = 1 << 15
"""Entries that are looked at for one test of a large tensor."""

SURE = 9.0
"""Standard deviations by which chance is ruled out, over thousands of tensors and heavy tails."""

FEW = 16
"""Below so many entries, statistics say nothing."""

MANY = 512
"""From so many entries on, statistics decide also where values repeat."""


class Kind(Enum):
    """How the entries of a tensor came about."""

    CONSTANT = auto()
    DRAWN = auto()
    """Independently, from one distribution."""
    SAME = auto()
    """All slices along ``axis`` are equal."""
    DIAGONAL = auto()
    """Those where input and output channel are the same, in each of ``count`` groups, differ."""
    ORTHOGONAL = auto()
    RUNS = auto()
    """Each slice along ``axis`` repeated ``count`` times in a row, the slices drawn."""
    TILES = auto()
    """The first ``count`` slices along ``axis`` repeated as a whole."""
    MASKED = auto()
    """Drawn, but for entries of the value ``value`` at certain places."""
    UNEVEN = auto()
    """Independently, but each slice along ``axes`` from a distribution of its own."""
    FIXED = auto()
    """By a rule that nothing here knows."""


@dataclass(frozen=True)
class Structure:
    """What is known of a tensor; which fields mean something follows from ``kind``."""

    kind: Kind
    axis: int = 0
    count: int = 1
    axes: tuple[int, ...] = ()
    value: float = 0.0
    inside: Structure | None = None
    """Of the slices that are repeated."""
    certain: bool = True
    """Whether training could not have caused it."""

    @property
    def scales(self) -> bool:
        """Whether the spread of the entries may follow the number of inputs."""
        if self.inside is not None:
            return self.inside.scales
        return self.kind in (Kind.DRAWN, Kind.UNEVEN) or (
            self.kind is Kind.MASKED and self.value == 0
        )

    def settled(self) -> Structure:
        """Return what is left if the network has been trained, so that nothing else is certain."""
        if not self.certain:
            return DRAWN
        return replace(self, inside=self.inside.settled()) if self.inside else self


CONSTANT = Structure(Kind.CONSTANT)
DRAWN = Structure(Kind.DRAWN)
FIXED = Structure(Kind.FIXED)


def structure_of(values: Tensor, groups: int = 1) -> Structure:
    """Return how the entries of a tensor came about, as far as they tell.

    Args:
        values: real numbers, of any shape.
        groups: of a convolution whose weight this is.
    """
    if all(map(_is_constant, (_some(values), values))):
        return CONSTANT
    if not values.is_floating_point():
        return FIXED
    if not bool(_some(values).isfinite().all()):
        return DRAWN
    axis = _constant_axis(values)
    if axis is not None:
        one = values.narrow(axis, 0, 1)
        return Structure(Kind.SAME, axis, inside=structure_of(one) if one.numel() >= FEW else FIXED)
    if values.ndim > 1:
        found = _diagonal(values, groups)
        if found is not None:
            return found
    for found in _repeated(values):
        slices = collapsed(values, found)
        inside = FIXED if slices.numel() < FEW else structure_of(slices)
        drawn = inside.kind in (Kind.DRAWN, Kind.UNEVEN, Kind.ORTHOGONAL)
        # of numbers that are fixed, a run may stand for a part of the axis as well
        return replace(found, inside=inside) if drawn or found.kind is Kind.TILES else FIXED
    few_values = _few_values(values)
    if values.numel() < FEW:
        return FIXED if few_values or _progression(values) or _round_numbers(values) else DRAWN
    if _monotone(values.squeeze()):
        return FIXED
    if (not few_values or values.numel() < MANY) and _round_numbers(values):
        return FIXED
    smooth, uneven = _smooth(values), _uneven_axes(values)
    if few_values:
        draws = values.numel() >= MANY and not (smooth or uneven or is_orthogonal(values))
        return DRAWN if draws else FIXED
    mode = _mode(values)
    if mode is not None and not (smooth and _smooth(values[values != mode])):
        return Structure(Kind.MASKED, value=mode)
    if smooth:
        return replace(FIXED, certain=False)
    if is_orthogonal(values):
        return Structure(Kind.ORTHOGONAL)
    if uneven:
        return Structure(Kind.UNEVEN, axes=uneven, certain=False)
    return DRAWN


def collapsed(values: Tensor, found: Structure) -> Tensor:
    """Return the slices of which a tensor of repeated ones consists."""
    if found.kind is Kind.TILES:
        return values.narrow(found.axis, 0, found.count)
    first = torch.arange(0, values.shape[found.axis], found.count, device=values.device)
    return values.index_select(found.axis, first)


def _is_constant(values: Tensor) -> bool:
    return values.numel() == 0 or bool((values == values.reshape(-1)[0]).all())


def _constant_axis(values: Tensor) -> int | None:
    """Return an axis, longer than one, along which all slices are equal."""
    for axis, length in enumerate(values.shape):
        if length > 1:
            first, second = values.select(axis, 0), values.select(axis, 1)
            if torch.equal(first, second) and bool((values == first.unsqueeze(axis)).all()):
                return axis
    return None


def diagonal(values: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return entries at which input and output channel are the same, and a mask of them.

    Args:
        values: (outputs, inputs of a group, kernel...).

    Returns:
        (n, kernel...), row by row, and (outputs, inputs of a group).
    """
    outputs, inputs = values.shape[:2]
    rows = torch.arange(outputs, device=values.device) % (outputs // groups)
    mask = rows[:, None] == torch.arange(inputs, device=values.device)
    return values[mask], mask


def is_orthogonal(values: Tensor) -> bool:
    """Tell whether rows or columns, whichever are fewer, are orthogonal and of one length."""
    matrix = _rows(values)
    if matrix is None:
        return False
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    matrix = matrix[:64].float()
    product = matrix @ matrix.T
    lengths = product.diagonal()
    apart = (product - torch.diag(lengths)).abs().max()
    return bool(apart < 1e-3 * lengths.min() and lengths.max() < 1.002 * lengths.min())


def orthogonal_blocks(values: Tensor) -> int:
    """Return how many square orthogonal blocks lie one below another, or 1."""
    rows, columns = values.shape[0], values[0].numel()
    blocks = rows // columns
    square = blocks > 1 and rows % columns == 0
    return blocks if square and is_orthogonal(values[:columns]) else 1


def _rows(values: Tensor) -> Tensor | None:
    if values.ndim < 2 or min(values.shape[0], values[0].numel()) < 3:
        return None
    return values.reshape(values.shape[0], -1)


def _diagonal(values: Tensor, groups: int) -> Structure | None:
    outputs, inputs = values.shape[:2]
    if outputs % groups or min(outputs // groups, inputs) < 2:
        return None
    if _is_constant(values[0, 1:]):
        _, mask = diagonal(values, groups)
        if _is_constant(values[~mask]):
            return Structure(Kind.DIAGONAL, count=groups)
    rows = torch.arange(outputs, device=values.device)
    rows = rows[rows % (outputs // groups) < inputs]
    if len(rows) < 4 or values.numel() < FEW:
        return None
    on = values[rows, rows % (outputs // groups)].reshape(len(rows), -1).float()
    every = values.reshape(outputs * inputs, -1)
    every = every[:: max(1, len(every) // 4096)].float()
    spread = every.std(0)
    apart = (on.mean(0) - every.mean(0)).abs()
    differs = bool((apart * math.sqrt(len(on)) > SURE * spread).logical_and(apart > spread).any())
    return Structure(Kind.DIAGONAL, count=groups, certain=False) if differs else None


def _repeated(values: Tensor) -> Iterator[Structure]:
    """Yield how slices along an axis repeat, if they do."""
    shape = values.shape
    for axis, length in enumerate(shape):
        if length < 4:
            continue
        some = values[tuple(_few(n) if i != axis else slice(None) for i, n in enumerate(shape))]
        found = _repetitions(some.movedim(axis, 0).reshape(length, -1))
        if found and found == _repetitions(values.movedim(axis, 0).reshape(length, -1)):
            yield Structure(found[0], axis, found[1])


def _few(length: int) -> slice:
    return slice(None, None, max(1, length // 4))


def _repetitions(slices: Tensor) -> tuple[Kind, int] | None:
    return next((one for find in (_runs, _tiles) for one in find(slices)), None)


def _runs(slices: Tensor) -> Iterator[tuple[Kind, int]]:
    differs = (slices[1:] != slices[:-1]).any(1).nonzero().flatten() + 1
    count = math.gcd(len(slices), *differs.tolist()) if len(differs) < len(slices) - 1 else 1
    if 1 < count < len(slices):
        yield Kind.RUNS, count


def _tiles(slices: Tensor) -> Iterator[tuple[Kind, int]]:
    length = len(slices)
    starts = (slices == slices[0]).all(1).nonzero().flatten().tolist()
    for count in starts[1:]:
        if length % count == 0 and torch.equal(slices[count:], slices[:-count]):
            yield Kind.TILES, count
            return


def _few_values(values: Tensor) -> bool:
    """Tell whether entries repeat each other as draws do not."""
    flat = _some(values)
    # half precision has so few numbers that draws repeat them
    most = len(flat) // 2 if flat.element_size() >= 4 else min(len(flat) // 2, FEW)
    return len(flat.unique()) <= most


def _some(values: Tensor) -> Tensor:
    """Return at most some thousand entries, evenly spread."""
    flat = values.reshape(-1)
    return flat[:: max(1, len(flat) // 4096)]


def _mode(values: Tensor) -> float | None:
    """Return a value that a part of the entries has which no draws would give it."""
    precise = values.element_size() >= 4
    if precise and int((values == 0).sum()) >= max(8, values.numel() >> 18):
        return 0.0
    some = _some(values)
    found, counts = some.unique(return_counts=True)
    most = int(counts.argmax())
    enough = max(3, len(some) // 128) if precise else max(6, len(some) // 8)
    return float(found[most]) if int(counts[most]) >= enough else None


def _round_numbers(values: Tensor) -> bool:
    """Tell whether these are numbers as people write them, or fractions of a power of two."""
    if values.element_size() < 4:
        return False
    for part in (_some(values)[:FEW], values):
        exact = part.double()
        if float(exact.abs().max()) > 1000 or not _are_round(part, exact):
            return False
    return True


def _are_round(values: Tensor, exact: Tensor) -> bool:
    decimal = (exact * 1000).round().div(1000).to(values.dtype) == values
    binary = (exact * 256).frac() == 0
    return bool(decimal.all() or binary.all())


def _progression(values: Tensor) -> bool:
    """Tell whether entries grow in equal steps, they, their logarithms or their powers."""
    flat = values.reshape(-1).double()
    if len(flat) < 3 or values.element_size() < 4:
        return False
    ways = [flat, flat.clamp(max=80).exp()]
    ways += [flat.log()] if bool((flat > 0).all()) else []
    for way in ways:
        steps = way.diff()
        if bool((steps.diff().abs() < 1e-5 * way.abs().max()).all()) and bool(
            steps.abs().min() > 1e-3 * way.abs().max() / len(way)
        ):
            return True
    return False


def _monotone(values: Tensor) -> bool:
    """Tell whether entries along the only axis do nothing but grow, or nothing but fall."""
    if values.ndim != 1:
        return False
    steps = values.diff()
    return bool((steps >= 0).all() or (steps <= 0).all())


def _screen(values: Tensor, spread: bool = True) -> Tensor:
    """Return a part of a large tensor: every so many slices of its longest axes, or the first."""
    while values.numel() > SCREEN:
        axis = max(range(values.ndim), key=lambda a: values.shape[a])
        length = values.shape[axis]
        keep = max(2, length * SCREEN // values.numel(), length // 8)
        if spread:
            step = max(2, length // keep)
            values = values[(slice(None),) * axis + (slice(None, None, step),)]
        else:
            values = values.narrow(axis, 0, min(keep, length - 1))
    return values


def _z(chi: float, freedom: int) -> float:
    """Return by how many standard deviations a chi-square exceeds what is expected of it.

    E. B. Wilson and M. M. Hilferty, The Distribution of Chi-Square, 1931.
    """
    spread = 2 / (9 * freedom)
    return float(((chi / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))


def _uneven_axes(values: Tensor) -> tuple[int, ...]:
    """Return the axes along which slices differ in mean or spread."""
    values = _screen(values).double()
    squares = (values - values.mean()).square()
    found = []
    for axis, length in enumerate(values.shape):
        others = values.numel() // length
        if length < 2 or others < 4:
            continue
        for numbers in (values, squares):
            means = numbers.movedim(axis, 0).reshape(length, -1).mean(1)
            variance = float(numbers.var())
            chi = others * float((means - numbers.mean()).square().sum()) / max(variance, 1e-300)
            if _z(chi, length - 1) > SURE:
                found.append(axis)
                break
    return tuple(found)


def _smooth(values: Tensor) -> bool:
    """Tell whether neighbours along an axis are alike, or a period shows."""
    values = _screen(values.squeeze(), spread=False).double()
    values = values - values.mean()
    for axis, length in enumerate(values.shape):
        rows = values.movedim(axis, -1).reshape(-1, length)
        power = float(rows.square().mean())
        if length < 2 or power == 0:
            continue
        for lag in range(1, length // 2 + 1 if values.ndim == 1 else min(length, 4)):
            products = rows[:, lag:] * rows[:, :-lag]
            likeness = min(0.9999, abs(float(products.mean()) / power))
            # R. A. Fisher's transformation of a correlation
            sigmas = math.atanh(likeness) * math.sqrt(max(0, products.numel() - 3))
            if likeness > 0.25 and sigmas > (6 if values.ndim == lag == 1 else SURE):
                return True
        if length >= FEW and len(rows) > 1:
            each = (rows[:, 1:] * rows[:, :-1]).sum(1) / rows.square().sum(1).clamp_min(1e-300)
            if _z(float(each.square().sum()) * length, len(rows)) > 2 * SURE:
                return True
    return False
