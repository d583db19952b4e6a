"""The widths that groups may take: multiples of 8 where a group is wide, and the baseline's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import lwdna
from lwdna.channels import trace, widened_widths
from lwdna.methods import ShrinkSettings
from lwdna.methods.grid import Grid, multiples_of
from lwdna.methods.keep import KEEP_RULES, floors
from lwdna.methods.limits import Limits
from lwdna.methods.settings import Budget
from lwdna.methods.space import Space


def _chain(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip((3, *widths), widths, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 5))


EXAMPLE = torch.zeros(1, 3, 16, 16)
WIDTHS = (7, 31, 32, 37, 100)
GRAPH = trace(_chain(*WIDTHS), EXAMPLE)


def _bounds(graph, factor=2.0, floor=0.25):
    widened = widened_widths(graph, factor)
    return floors(graph, widened, floor, floor), widened


def _limits(graph, widened, **budget):
    return Limits.of(graph, widened, Budget(**budget))


def test_wide_groups_have_multiples_of_eight_and_the_baseline_s_own_width():
    least, most = _bounds(GRAPH)
    steps = multiples_of("auto", _limits(GRAPH, most, macs=1.0), least, most)
    assert list(steps.values()) == [1, 1, 8, 8, 8]
    grid = Grid.of(GRAPH, least, most, steps)
    assert [list(widths) for widths in grid.allowed] == [
        list(range(4, 15)),
        list(range(16, 63)),
        [16, 24, 32, 40, 48, 56, 64],
        [24, 32, 37, 40, 48, 56, 64, 72],  # floor 19, at most 74
        [*range(56, 97, 8), 100, *range(104, 201, 8)],  # floor 50
    ]


def test_a_number_is_for_all_groups():
    least, most = _bounds(GRAPH)
    steps = multiples_of(5, _limits(GRAPH, most, macs=1.0), least, most)
    assert list(steps.values()) == [5] * 5


def test_multiples_that_no_budget_meets_are_left_out():
    """The floors of 26 and 17 cost less than 32 and 24 channels, the narrowest multiples."""
    graph = trace(_chain(51, 34), EXAMPLE)
    least, most = _bounds(graph)
    assert list(least.values()) == [26, 17]

    def share(widths):
        return (graph.cost(dict(zip(least, widths, strict=True))).macs + 0.5) / graph.cost().macs

    tight = _limits(graph, most, macs=share([32, 23]))
    assert set(multiples_of("auto", tight, least, most).values()) == {1}
    enough = _limits(graph, most, macs=share([32, 24]))
    assert set(multiples_of("auto", enough, least, most).values()) == {8}


@pytest.mark.parametrize(
    ("least", "most", "allowed"), [(33, 39, [33, 39]), (33, 40, [40]), (32, 39, [32])]
)
def test_bounds_without_a_multiple_between_them(least, most, allowed):
    graph = trace(_chain(7), EXAMPLE)
    (name,) = graph.widths
    (found,) = Grid.of(graph, {name: least}, {name: most}, {name: 8}).allowed
    assert list(found) == allowed


def test_neighbours_of_a_width():
    """24, 32, 37, 40, ... of the fourth group; of two as near, the wider."""
    least, most = _bounds(GRAPH)
    grid = Grid.of(GRAPH, least, most, {list(least)[3]: 8})
    wanted = np.array([[1, 1, 1, w, 1] for w in (3, 28, 34, 35, 38, 39, 99)], dtype=np.int64)
    assert grid.nearest(wanted)[:, 3].tolist() == [24, 32, 32, 37, 37, 40, 72]
    assert grid.nearest(wanted + 0.4)[:, 3].tolist() == [24, 32, 32, 37, 37, 40, 72]
    assert grid.nearest(np.array([7.0, 31, 32, 34.5, 100])).tolist() == [7, 31, 32, 37, 100]
    now = np.array([[4, 16, 16, w, 50] for w in (24, 32, 37, 72)], dtype=np.int64)
    assert grid.wider(now)[:, 3].tolist() == [32, 37, 40, 72]
    assert grid.narrower(now)[:, 3].tolist() == [24, 24, 32, 64]
    assert grid.narrower(now)[0].tolist() == [4, 16, 16, 24, 50]


@settings(deadline=None, max_examples=60)
@given(
    widths=st.lists(st.sampled_from([5, 13, 31, 33, 41, 64, 97]), min_size=1, max_size=4),
    rule=st.sampled_from(["threshold", "local", "knapsack", "knapsack-full", "proportional"]),
    macs=st.floats(0.05, 0.95),
    params=st.floats(0.05, 1.0),
    seed=st.integers(0, 10**6),
)
def test_every_rule_keeps_budget_floors_and_multiples_and_fills_up(
    widths, rule, macs, params, seed
):
    graph = trace(_chain(*widths), EXAMPLE)
    least, most = _bounds(graph)
    low, high = graph.cost(least), graph.cost(most)
    limits = Limits(
        graph,
        {
            "macs": int(low.macs + macs * (high.macs - low.macs)),
            "params": int(low.params + params * (high.params - low.params)),
        },
    )
    generator = torch.Generator().manual_seed(seed)
    scores = {name: torch.rand(width, generator=generator) for name, width in most.items()}
    steps = multiples_of("auto", limits, least, most)
    entry = KEEP_RULES[rule]
    found = entry.keep(graph, scores, least, limits, steps, **dict(entry.options())).widths
    row = [found[name] for name in graph.widths]
    assert limits.fits([row])[0]
    # one threshold alone ends, as in the paper, at the first unit that does not fit
    fills = rule not in ("threshold", "local") or 8 in steps.values()
    for name, width in found.items():
        base = graph.widths[name]
        assert least[name] <= width <= most[name]
        wide = steps[name] == 8
        assert wide <= (base >= 32)
        assert not wide or width % 8 == 0 or width == base
        following = width + 1 if not wide else min(
            [w for w in (8 * (width // 8 + 1), base) if w > width]
        )  # fmt: skip
        if fills and following <= most[name]:
            more = [following if one == name else found[one] for one in graph.widths]
            assert not limits.fits([more])[0]


@pytest.mark.parametrize("budget", [{"macs": 1.0}, {"macs": 1.0, "params": 1.5}, {"params": 1.0}])
def test_a_budget_of_the_baseline_gives_the_baseline_back(budget):
    least, most = _bounds(GRAPH)
    limits = _limits(GRAPH, most, **budget)
    space = Space(limits, least, most, multiples_of("auto", limits, least, most))
    assert space.narrowed().tolist() == list(WIDTHS)


@pytest.mark.parametrize("criterion", ["uniform", "snip"])
def test_the_uniform_control_is_the_baseline_at_its_own_cost(criterion):
    options = {"prior": 1.0} if criterion == "snip" else None  # who trusts the baseline alone
    torch.manual_seed(0)
    arch = lwdna.shrink(
        _chain(*WIDTHS),
        EXAMPLE,
        [(torch.randn(4, 3, 16, 16), torch.arange(4))],
        nn.CrossEntropyLoss(),
        Budget(macs=1.0, params=1.5),
        criterion=criterion,
        keep=options,
    )
    assert tuple(arch.widths.values()) == WIDTHS
    assert arch.found["multiple"] == "auto"


def test_odd_widths_are_one_key_away():
    assert ShrinkSettings().multiple == "auto"
    assert ShrinkSettings(multiple=1).multiple == 1
    with pytest.raises(ValueError, match="multiple"):
        ShrinkSettings(multiple=0)
    with pytest.raises(ValueError, match="multiple"):
        ShrinkSettings(multiple="eight")
