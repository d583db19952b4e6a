"""The layout algebra against a model of its own: every index carries a label."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lwdna.channels.algebra.layout import (
    Layout,
    Reason,
    Segment,
    Unit,
    cut,
    cut_equal,
    fixed,
    free,
    is_fixed,
    mark_inexact,
    merge,
    pin,
    reasons_of,
    reshape,
    resolve,
    size_of,
    unify,
    units_of,
)

FIXED = ("fixed",)


def labels(layout: Layout) -> list[tuple]:
    """Return the unit and its index for every position, written out one by one."""
    found: list[tuple] = []
    for outer, unit, inner in resolve(layout):
        for _ in range(outer):
            for u in range(1 if unit is None else unit.size):
                found += [FIXED if unit is None else (unit, u)] * inner
    return found


def exact(*layouts: Layout) -> bool:
    return not any(unit.inexact for layout in layouts for unit in units_of(layout))


def sizes(layout: Layout) -> list[int]:
    return [part.size for part in resolve(layout)]


class Positions:
    """Union-find over single positions: what must agree, found without any layout."""

    def __init__(self) -> None:
        self.parent: dict[tuple, tuple] = {}

    def find(self, key: tuple) -> tuple:
        while self.parent.get(key, key) != key:
            key = self.parent[key]
        return key

    def join(self, left: list[tuple], right: list[tuple]) -> None:
        for a, b in zip(left, right, strict=True):
            self.parent[self.find(a)] = self.find(b)


@st.composite
def concatenations(draw: st.DrawFn) -> tuple[list[Unit], list[list[int]], list[tuple[int, int]]]:
    """Units, concatenations of them by index, and pairs of concatenations of equal length."""
    units = [Unit(n) for n in draw(st.lists(st.integers(1, 7), min_size=2, max_size=6))]
    pick = st.lists(st.integers(0, len(units) - 1), min_size=1, max_size=4)
    layouts = draw(st.lists(pick, min_size=2, max_size=6))
    lengths = [sum(units[i].size for i in layout) for layout in layouts]
    pairs = []
    for a in range(len(layouts)):
        for b in range(a):
            short, gap = (
                (a, lengths[b] - lengths[a])
                if lengths[a] < lengths[b]
                else (
                    b,
                    lengths[a] - lengths[b],
                )
            )
            if gap:
                units.append(Unit(gap))
                layouts[short] = [*layouts[short], len(units) - 1]
                lengths[short] += gap
                pairs.append((a, b))
            else:
                pairs.append((a, b))
    chosen = [(a, b) for a, b in pairs if lengths[a] == lengths[b]]
    return units, layouts, chosen


@given(concatenations())
@settings(max_examples=200, deadline=None)
def test_unify_of_concatenations_joins_exactly_what_must_agree(case):
    units, layouts, pairs = case
    assume(pairs)
    written = [tuple(Segment(1, units[i], 1) for i in layout) for layout in layouts]
    original = [[(i, u) for i in layout for u in range(units[i].size)] for layout in layouts]
    lengths = [size_of(layout) for layout in written]
    positions = Positions()
    for a, b in pairs:
        unify(written[a], written[b], Reason)
        positions.join(original[a], original[b])
    assert [size_of(resolve(layout)) for layout in written] == lengths
    classes: dict[tuple, tuple] = {}
    for layout, keys in zip(written, original, strict=True):
        if not exact(layout):
            continue
        for label, key in zip(labels(layout), keys, strict=True):
            assert label != FIXED
            assert classes.setdefault(positions.find(key), label) == label
    if all(exact(layout) for layout in written):
        joined = {label: root for root, label in classes.items()}
        assert len(joined) == len(classes), "positions were merged that nothing ties"


@st.composite
def axis(draw: st.DrawFn, units: int = 2) -> Layout:
    """A layout with repeats on both sides of its units, and fixed runs."""
    made = [Unit(draw(st.integers(1, 6))) for _ in range(units)]
    small = st.integers(1, 3)
    return tuple(
        Segment(draw(small), draw(st.sampled_from([*made, None])), draw(small))
        for _ in range(draw(st.integers(1, 3)))
    )


@given(axis(), axis())
@settings(max_examples=300, deadline=None)
def test_unify_keeps_sizes_and_labels_agree_where_exact(left, right):
    gap = size_of(left) - size_of(right)
    if gap:
        longer = free(abs(gap))
        left, right = (left, (*right, *longer)) if gap > 0 else ((*left, *longer), right)
    length = size_of(left)
    unify(left, right, Reason)
    assert size_of(resolve(left)) == size_of(resolve(right)) == length
    if exact(left, right):
        assert labels(left) == labels(right)
    again = resolve(left)
    unify(left, right, Reason)
    assert resolve(left) == again, "agreeing twice changes nothing"


@given(axis(), axis(), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_after_unify_any_sizes_of_the_units_agree(left, right, seed):
    """The point of it all: give the units other sizes, and both axes still have one length."""
    gap = size_of(left) - size_of(right)
    if gap:
        longer = free(abs(gap))
        left, right = (left, (*right, *longer)) if gap > 0 else ((*left, *longer), right)
    unify(left, right, Reason)
    draw = np.random.default_rng(seed)
    new = {unit: int(draw.integers(1, 50)) for unit in units_of((*left, *right))}

    def length(layout: Layout) -> int:
        return sum(o * i * (1 if u is None else new[u]) for o, u, i in resolve(layout))

    assert length(left) == length(right)


@given(axis(), st.data())
@settings(max_examples=200, deadline=None)
def test_cut_gives_the_consecutive_parts(layout, data):
    length = size_of(layout)
    at = sorted(data.draw(st.lists(st.integers(0, length), max_size=3)))
    bounds = [0, *at, length]
    parts = cut(layout, [b - a for a, b in pairwise(bounds)], Reason)
    assert [label for part in parts for label in labels(part)] == labels(layout)


@given(axis(), st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_equal_parts_stay_equal(layout, count):
    layout = tuple(Segment(o * count, u, i) for o, u, i in layout)
    length = size_of(layout)
    part = cut_equal(layout, count, Reason)
    assert size_of(part) * count == size_of(layout) == length
    if exact(layout):
        assert labels(part) * count == labels(layout)


def elements(axes: list[Layout]) -> list[frozenset]:
    """For every element of a tensor in row-major order, the units it belongs to."""
    marks = [labels(layout) for layout in axes]
    shape = [len(mark) for mark in marks]
    return [
        frozenset(mark[i] for mark, i in zip(marks, index, strict=True)) - {FIXED}
        for index in np.ndindex(*shape)
    ]


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[list[Layout], list[int]]:
    factors = draw(st.lists(st.sampled_from([2, 2, 3, 4, 5]), min_size=1, max_size=4))
    axes: list[Layout] = [fixed(n) for n in factors]
    where = draw(st.integers(0, len(factors) - 1))
    kind = draw(st.sampled_from(["unit", "concat", "repeat"]))
    size = factors[where]
    if kind == "concat" and size > 2:
        axes[where] = (*free(size - 2), *free(2))
    elif kind == "repeat":
        axes[where] = (Segment(2, Unit(size), 3),)
    else:
        axes[where] = free(size)
    total = prod(size_of(layout) for layout in axes)
    shape = []
    while total > 1:
        divisors = [d for d in range(2, total + 1) if total % d == 0]
        shape.append(draw(st.sampled_from(divisors)))
        total //= shape[-1]
    return axes, draw(st.permutations(shape))


@given(reshapes())
@settings(max_examples=400, deadline=None)
def test_reshape_moves_no_channel(case):
    axes, shape = case
    result = reshape(axes, shape, Reason)
    assert [size_of(layout) for layout in result] == shape
    if exact(*axes, *result):
        assert elements(list(axes)) == elements(list(result))
    back = reshape(result, [size_of(layout) for layout in axes], Reason)
    if exact(*axes, *back):
        assert elements(list(axes)) == elements(list(back))


@given(axis(), axis(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_flattening_is_row_major(one, two, first):
    axes = [one, fixed(size_of(two))] if first else [fixed(size_of(one)), two]
    flat = merge(axes, Reason)
    assert elements([flat]) == elements(axes)


def test_two_concatenations_split_at_common_breakpoints():
    a, b, c, d = free(8), free(8), free(4), free(12)
    unify((*a, *b), (*c, *d), Reason)
    assert sizes((*a, *b)) == sizes((*c, *d)) == [4, 4, 8]
    assert sizes(a) == [4, 4]
    assert sizes(d) == [4, 8]
    assert resolve(b) == resolve(d)[1:]


def test_chain_of_breakpoints_reaches_units_bound_before():
    a, b, c = free(6), free(6), free(6)
    unify(a, b, Reason)
    unify(b, c, Reason)
    unify(a, (*free(2), *free(4)), Reason)
    assert sizes(a) == sizes(b) == sizes(c) == [2, 4]
    assert labels(a) == labels(c)


def test_groups_of_two_counts_meet_in_their_common_multiple():
    unit = free(24)
    assert size_of(cut_equal(unit, 4, Reason)) == 6
    assert size_of(cut_equal(unit, 6, Reason)) == 4
    assert [(part.outer, part.size) for part in resolve(unit)] == [(12, 24)]


def test_channel_shuffle_returns_to_where_it_started():
    """(g, n) transposed to (n, g): another order of the same number, so slices are not exact."""
    unit = free(6)
    two, three = reshape([unit], [2, 3], Reason)
    shuffled = reshape([three, two], [6], Reason)[0]
    unify(shuffled, unit, Reason)
    assert size_of(unit) == 6
    assert not exact(unit)


def test_meeting_a_fixed_axis_pins_with_the_reason():
    unit = free(5)
    unify(unit, fixed(5), lambda why: Reason(why, "add", "block.1", "net.py:3"))
    assert is_fixed(unit)
    assert [str(reason) for reason in reasons_of(unit)] == [
        "meets a fixed axis at add in block.1 (net.py:3)"
    ]


def test_pinning_a_part_leaves_the_rest_free():
    unit = free(9)
    head, tail = cut(unit, [4, 5], Reason)
    pin(head, Reason("by hand"))
    assert [(part.unit is None, part.size) for part in resolve(unit)] == [(True, 4), (False, 5)]
    assert not is_fixed(tail)


def test_inexact_spreads_to_what_a_unit_is_bound_to():
    unit = free(8)
    mark_inexact(unit, Reason("normalised"))
    head, tail = cut(unit, [3, 5], Reason)
    assert not exact(head)
    assert not exact(tail)


def test_axes_of_different_length_are_refused():
    with pytest.raises(ValueError, match="length 4 and 5"):
        unify(free(4), free(5), Reason)
