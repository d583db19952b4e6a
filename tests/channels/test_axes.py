"""An axis' layout in terms of groups: lengths and entries worked out by hand."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lwdna.channels.graph.axes import AxisLayout, Part

# 3 of group 1, a fixed run of 4, 2 x 5 of group 0 with 3 neighbours each, 3 of group 1 once more
MIXED = AxisLayout((Part(1, 1, 1), Part(2, None, 2), Part(2, 0, 3), Part(1, 1, 1)))
WIDTHS = [5, 3]


def test_groups_are_named_once_in_the_order_in_which_they_occur():
    assert MIXED.groups == (1, 0)
    assert MIXED.per_unit == ((1, 2), (0, 6))
    assert MIXED.constant == 4
    assert not MIXED.is_fixed
    fixed = AxisLayout.fixed(7)
    assert (fixed.groups, fixed.per_unit, fixed.constant, fixed.is_fixed) == ((), (), 7, True)


def test_the_length_counts_every_part():
    assert MIXED.length(WIDTHS) == 3 + 4 + 2 * 5 * 3 + 3 == 40
    assert MIXED.length({0: 7, 1: 11}) == 11 + 4 + 2 * 7 * 3 + 11
    assert AxisLayout.fixed(7).length([]) == 7
    assert MIXED.repeated(2).length(WIDTHS) == 80


def test_runs_follow_one_another():
    assert [(part.group, start, end) for part, start, end in MIXED.runs(WIDTHS)] == [
        (1, 0, 3),
        (None, 3, 7),
        (0, 7, 37),
        (1, 37, 40),
    ]


def test_split_takes_the_last_axis_apart():
    values = torch.arange(80).reshape(2, 40)
    pieces = list(MIXED.split(values, WIDTHS))
    assert [group for group, _ in pieces] == [1, None, 0, 1]
    assert [tuple(piece.shape) for _, piece in pieces] == [
        (2, 1, 3, 1),
        (2, 2, 1, 2),
        (2, 2, 5, 3),
        (2, 1, 3, 1),
    ]
    # row 1 starts at 40, the part at 7; its second repeat 15 later; units are 3 apart
    assert pieces[2][1][1, 1, 4].tolist() == [40 + 7 + 15 + 12 + i for i in range(3)]
    assert pieces[3][1][0].flatten().tolist() == [37, 38, 39]


def test_spread_gives_every_entry_the_value_of_its_unit():
    a, b = torch.tensor([2.0, 3.0, 5.0, 7.0, 11.0]), torch.tensor([13.0, 17.0, 19.0])
    once = [2.0] * 3 + [3.0] * 3 + [5.0] * 3 + [7.0] * 3 + [11.0] * 3
    ends = [13.0, 17.0, 19.0]
    assert MIXED.spread([a, b]).tolist() == [*ends, *[1.0] * 4, *once, *once, *ends]
    assert MIXED.spread([a, b], among={1}).tolist() == [*ends, *[1.0] * 34, *ends]
    assert MIXED.spread([a, b], among=()).tolist() == [1.0] * 40
    assert AxisLayout((Part(1, 1, 2),)).spread([a, b]).tolist() == [13, 13, 17, 17, 19, 19]


def test_gradients_flow_back_to_the_units():
    a = torch.ones(5, requires_grad=True)
    b = torch.ones(3, requires_grad=True)
    (MIXED.spread([a, b]) * torch.arange(40.0)).sum().backward()
    assert b.grad.tolist() == [0 + 37, 1 + 38, 2 + 39]
    first = 7 + 8 + 9 + 22 + 23 + 24
    assert a.grad.tolist() == [first + 18 * unit for unit in range(5)]


parts = st.builds(
    Part, st.sampled_from([1, 2]), st.sampled_from([None, 0, 1, 2]), st.sampled_from([1, 3])
)


@given(st.lists(parts, min_size=1, max_size=5), st.lists(st.integers(1, 5), min_size=3, max_size=3))
@settings(max_examples=100, deadline=None)
def test_split_undoes_spread(chosen, widths):
    axis = AxisLayout(tuple(chosen))
    vectors = [torch.randn(width) for width in widths]
    values = axis.spread(vectors)
    assert len(values) == axis.length(widths)
    for group, piece in axis.split(values, widths):
        expected = torch.ones(1) if group is None else vectors[group]
        assert torch.equal(piece, expected[None, :, None].expand_as(piece))


def test_equal_layouts_are_one_key_and_nobody_can_change_them():
    twin = AxisLayout(tuple(MIXED.parts))
    assert twin == MIXED
    assert len({twin, MIXED, AxisLayout.fixed(3)}) == 2
    assert AxisLayout(MIXED.parts[::-1]) != MIXED
    with pytest.raises(dataclasses.FrozenInstanceError):
        MIXED.parts = ()
    for other in (copy.deepcopy(MIXED), pickle.loads(pickle.dumps(MIXED))):
        assert other == MIXED
        assert (other.per_unit, other.constant) == (MIXED.per_unit, MIXED.constant)
