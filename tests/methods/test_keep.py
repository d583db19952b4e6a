"""Budgets are met within one unit and never exceeded."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kept import GRAPHS, PARALLEL, random_scores
from torch import Tensor, nn
from torch.nn import functional as F

from lwdna.channels import trace, widened_widths
from lwdna.errors import BudgetError
from lwdna.methods.keep import best_units, floors
from lwdna.methods.keep.knapsack import keep_by_full_knapsack, keep_by_knapsack
from lwdna.methods.keep.local import keep_local
from lwdna.methods.keep.multiples import rounded
from lwdna.methods.keep.proportional import keep_in_proportion
from lwdna.methods.keep.threshold import keep_by_threshold
from lwdna.methods.limits import Limits
from lwdna.methods.settings import Budget


@settings(deadline=None, max_examples=100)
@given(
    graph=st.sampled_from(GRAPHS),
    seed=st.integers(0, 10**6),
    factor=st.sampled_from([1.0, 1.5, 2.0, 3.0]),
    spread=st.sampled_from([0.0, 1.0, 4.0]),
    floor=st.floats(0, 0.5),
    share=st.floats(0.02, 0.98),
    by=st.sampled_from(["macs", "params", "both"]),
)
def test_the_budget_is_met_within_one_unit(graph, seed, factor, spread, floor, share, by):
    widened = widened_widths(graph, factor)
    scores = random_scores(widened, seed, spread)
    least = floors(graph, widened, floor, floor)
    low, high = graph.cost(least), graph.cost(widened)
    allowed = {
        what: int(getattr(low, what) + share * (getattr(high, what) - getattr(low, what)))
        for what in (["macs", "params"] if by == "both" else [by])
    }
    if all(getattr(high, what) <= limit for what, limit in allowed.items()):
        return
    kept = keep_by_threshold(graph, scores, least, Limits(graph, allowed))
    cost = graph.cost(kept.widths)
    assert all(getattr(cost, what) <= limit for what, limit in allowed.items())
    assert all(kept.widths[name] >= least[name] for name in least)
    # the best unit left out would break the budget
    left_out = {
        name: float(np.sort(scores[name].numpy())[::-1][kept.widths[name]])
        for name in kept.widths
        if kept.widths[name] < widened[name]
    }
    best = max(left_out, key=left_out.__getitem__)
    more = graph.cost({**kept.widths, best: kept.widths[best] + 1})
    assert any(getattr(more, what) > limit for what, limit in allowed.items())
    # one threshold for all: nothing kept above a floor scores below anything left out
    for name, width in kept.widths.items():
        if width > least[name]:
            assert np.sort(scores[name].numpy())[::-1][width - 1] >= left_out[best] - 1e-12


@settings(deadline=None, max_examples=100)
@given(
    graph=st.sampled_from(GRAPHS),
    seed=st.integers(0, 10**6),
    factor=st.sampled_from([1.0, 1.5, 2.0, 3.0]),
    spread=st.sampled_from([0.0, 1.0, 4.0]),
    floor=st.floats(0, 0.5),
    share=st.floats(0.02, 0.98),
    resources=st.sets(st.sampled_from(["macs", "params", "memory"]), min_size=1),
    negative=st.booleans(),
    keep=st.sampled_from([keep_by_knapsack, keep_by_full_knapsack, keep_in_proportion]),
)
def test_a_knapsack_is_full_and_never_too_heavy(
    graph, seed, factor, spread, floor, share, resources, negative, keep
):
    widened = widened_widths(graph, factor)
    scores = random_scores(widened, seed, spread)
    if negative:
        scores = {name: -values for name, values in scores.items()}
    least = floors(graph, widened, floor, floor)
    every = Limits(graph, dict.fromkeys(sorted(resources), 0.0))
    low, high = every.usage_of(least), every.usage_of(widened)
    allowed = {what: int(low[what] + share * (high[what] - low[what])) for what in low}
    limits = Limits(graph, allowed)

    def fits(widths):
        return all(used <= allowed[what] for what, used in limits.usage_of(widths).items())

    if fits(widened):
        return
    widths = keep(graph, scores, least, limits).widths
    assert fits(widths)
    for name, width in widths.items():
        assert least[name] <= width <= widened[name]
        if width < widened[name]:
            assert not fits({**widths, name: width + 1})  # no unit more fits


@pytest.mark.parametrize("share", [0.2, 0.5, 0.83])
def test_local_keeps_the_same_share_of_every_group_and_its_best_units(share):
    graph = GRAPHS[2]
    widened = widened_widths(graph, 4.0)
    scores = random_scores(widened, 3, 4.0)  # of very different sizes
    limits = Limits(graph, {"macs": int(share * graph.cost(widened).macs)})
    widths = keep_local(graph, scores, dict.fromkeys(widened, 1), limits).widths
    assert graph.cost(widths).macs <= limits.allowed["macs"]
    shares = [widths[name] / widened[name] for name in widths]
    assert max(shares) - min(shares) < 1.5 / min(widened.values())
    more = {name: min(width + 1, widened[name]) for name, width in widths.items()}
    assert graph.cost(more).macs > limits.allowed["macs"]
    by_places = {n: (s.argsort().argsort() + 0.5).double() / len(s) for n, s in scores.items()}
    assert widths == keep_by_threshold(graph, by_places, dict.fromkeys(widened, 1), limits).widths


def test_a_full_knapsack_leaves_neither_macs_nor_parameters_over():
    """Scores that fall with depth spend all MACs on early layers, which have few parameters."""
    graph = trace(timm.create_model("regnetx_002", num_classes=100), torch.zeros(1, 3, 32, 32))
    widened = widened_widths(graph, 2.0)
    scores = {
        name: 0.8**depth * values
        for depth, (name, values) in enumerate(random_scores(widened, 0, 0.0).items())
    }
    least = floors(graph, widened, 0.25, 0.25)
    limits = Limits(graph, {"macs": graph.cost().macs, "params": graph.cost().params})

    def used(keep):
        found = limits.usage_of(keep(graph, scores, least, limits).widths)
        return {what: found[what] / limit for what, limit in limits.allowed.items()}

    plain, full = used(keep_by_knapsack), used(keep_by_full_knapsack)
    assert plain["macs"] > 0.98
    assert plain["params"] < 0.8
    assert all(0.98 < share <= 1 for share in full.values())


def test_a_knapsack_weighs_importance_against_cost():
    """16 positions through a, 1 through b: 16 a + a b + b = 38 MACs at a = b = 2."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(2, 2, 1, bias=False),
        nn.Conv2d(2, 1, 1, bias=False),
    )
    graph = trace(model, torch.zeros(1, 1, 4, 4))
    assert graph.cost().macs == 38
    scores = {"0": torch.tensor([6.0, 10.0]), "2": torch.tensor([5.0, 2.0])}
    least = {"0": 1, "2": 1}
    limits = Limits(graph, {"macs": 37})
    # the lowest score is b's 2; a's 6 brings 6 / 18 per MAC, less than b's 2 / 3
    assert keep_by_threshold(graph, scores, least, limits).widths == {"0": 2, "2": 1}
    assert keep_by_knapsack(graph, scores, least, limits).widths == {"0": 1, "2": 2}


class Small(nn.Module):
    """Groups a and b one after the other, c beside them: see :func:`_needs`."""

    def __init__(self, a: int, b: int, c: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, a, 1)
        self.b = nn.Conv2d(a, b, 1)
        self.c = nn.Conv2d(3, c, 1)
        self.heads = nn.ModuleList([nn.Conv2d(b, 2, 1), nn.Conv2d(c, 2, 1)])

    def forward(self, x: Tensor) -> Tensor:
        left = self.b(F.adaptive_avg_pool2d(self.a(x).relu(), 1))
        right = self.c(F.adaptive_avg_pool2d(x, 1))
        return self.heads[0](left.relu()) + self.heads[1](right.relu())


def _needs(a: int, b: int, c: int) -> dict[str, int]:
    """Sixteen positions through a, one through all others."""
    return {
        "macs": 16 * 3 * a + a * b + 2 * b + 3 * c + 2 * c,
        "params": 4 * a + (a + 1) * b + 2 * (b + 1) + 4 * c + 2 * (c + 1),
    }


def _greedy(scores: list[list[float]], allowed: dict[str, int]) -> tuple[int, ...]:
    """The knapsack in words: one unit after the other, of a group the worst or the next best.

    A unit's price is its part of the limits: of those exceeded while units go, of all when they
    come back, each for the score that it takes away or brings.
    """
    ranked = [sorted(group, reverse=True) for group in scores]
    widths = [len(group) for group in ranked]

    def with_one(step: int, group: int) -> list[int]:
        return [width + step * (g == group) for g, width in enumerate(widths)]

    def price(step: int, group: int, names: list[str]) -> float:
        now, then = _needs(*widths), _needs(*with_one(step, group))
        return sum(abs(then[name] - now[name]) / allowed[name] for name in names)

    while over := [name for name, most in allowed.items() if _needs(*widths)[name] > most]:
        may_go = [g for g, width in enumerate(widths) if width > 1]
        widths[min(may_go, key=lambda g: ranked[g][widths[g] - 1] / price(-1, g, over))] -= 1
    while True:
        may_come = [g for g, width in enumerate(widths) if width < len(ranked[g])]
        needs = {g: _needs(*with_one(1, g)) for g in may_come}
        may_come = [g for g in may_come if all(needs[g][n] <= most for n, most in allowed.items())]
        if not may_come:
            return tuple(widths)
        every = list(allowed)
        widths[max(may_come, key=lambda g: ranked[g][widths[g]] / price(1, g, every))] += 1


@pytest.mark.parametrize("by", [("macs",), ("params",), ("macs", "params")])
def test_a_knapsack_is_filled_as_by_hand(by):
    """So small that 1/32 of what is too much is never two units: one goes at a time."""
    graph = trace(Small(4, 6, 6), torch.zeros(1, 3, 4, 4))
    assert list(graph.widths.values()) == [4, 6, 6]
    most, least = _needs(4, 6, 6), _needs(1, 1, 1)
    assert [vars(graph.cost())[what] for what in by] == [most[what] for what in by]
    generator = np.random.default_rng(0)
    for _ in range(200):
        spreads = 2.0 ** generator.integers(-2, 3, 3)
        scores = [s * generator.random(n) for s, n in zip(spreads, (4, 6, 6), strict=True)]
        allowed = {n: int(generator.integers(least[n], most[n])) for n in by}
        tensors = dict(zip(graph.widths, map(torch.tensor, scores), strict=True))
        limits = Limits(graph, allowed)
        kept = keep_by_knapsack(graph, tensors, dict.fromkeys(graph.widths, 1), limits)
        assert tuple(kept.widths.values()) == _greedy([s.tolist() for s in scores], allowed)


@settings(deadline=None, max_examples=100)
@given(
    graph=st.sampled_from(GRAPHS),
    seed=st.integers(0, 10**6),
    factor=st.sampled_from([2.0, 4.0]),
    shares=st.dictionaries(
        st.sampled_from(["macs", "params", "memory"]), st.floats(0.1, 0.9), min_size=1
    ),
    multiples=st.sampled_from([(2,), (4,), (8,), (1, 4, 8)]),
    keep=st.sampled_from([keep_by_threshold, keep_by_knapsack, keep_in_proportion]),
)
def test_multiples_meet_a_budget_of_several_resources(graph, seed, factor, shares, multiples, keep):
    """Of each group its own, or the baseline's width; then nothing more fits."""
    multiple = dict(zip(graph.widths, cycle(multiples), strict=False))
    widened = {n: -(-w // multiple[n]) * multiple[n] for n, w in
               widened_widths(graph, factor).items()}  # fmt: skip
    scores = random_scores(widened, seed, 1.0)
    least = floors(graph, widened, 0.1, 0.1)
    fewest = {name: -(-width // multiple[name]) * multiple[name] for name, width in least.items()}
    needed = Limits(graph, shares)
    low, high = needed.usage_of(fewest), needed.usage_of(widened)
    limits = Limits(
        graph, {what: int(low[what] + s * (high[what] - low[what])) for what, s in shares.items()}
    )
    widths = keep(graph, scores, least, limits, multiple).widths

    def allowed(name, width):
        return width % multiple[name] == 0 or width == graph.widths[name]

    assert all(allowed(name, width) for name, width in widths.items())
    assert all(widths[name] >= least[name] for name in least)
    assert graph.cost(widths).macs <= limits.allowed.get("macs", np.inf)
    assert graph.cost(widths).params <= limits.allowed.get("params", np.inf)
    assert graph.peak_memory([list(widths.values())])[0] <= limits.allowed.get("memory", np.inf)
    for name, width in widths.items():
        wider = next((w for w in range(width + 1, widened[name] + 1) if allowed(name, w)), None)
        if wider is not None:  # no room for more anywhere
            more = limits.usage_of({**widths, name: wider})
            assert any(more[what] > limit for what, limit in limits.allowed.items())


def _rounded(widths, allowed):
    """Round to multiples of 4 within what the widths ``allowed`` cost."""
    names = list(PARALLEL.widths)
    later = [(1.0, 0.0), (0.2, 0.1), (0.5, 0.4)]  # scores of units 5 to 8 and 9 to 12
    scores = {
        name: torch.tensor([9.0] * 4 + [second] * 4 + [third] * 4)
        for name, (second, third) in zip(names, later, strict=True)
    }
    macs = PARALLEL.cost(dict(zip(names, allowed, strict=True))).macs
    given = dict(zip(names, widths, strict=True))
    limits = Limits(PARALLEL, {"macs": macs})
    fours = dict.fromkeys(names, 4)
    return tuple(rounded(given, scores, dict.fromkeys(names, 1), limits, fours).values())


def test_multiples_are_the_nearest_and_the_worst_go_first():
    """Costs of a unit: 27 x 256 + 5, 27 x 64 + 5 and 27 x 16 + 5 MACs."""
    assert _rounded((8, 8, 8), allowed=(8, 4, 8)) == (8, 4, 8)  # of 1, 0.2 and 0.5
    assert _rounded((4, 6, 5), allowed=(4, 8, 4)) == (4, 8, 4)
    # four more of the second fit, or all there are of the third, whose scores are better
    assert _rounded((6, 5, 3), allowed=(8, 8, 4)) == (8, 4, 12)


def test_of_units_without_importance_the_dearest_go_first():
    """Scores of zero: the first branch pays, in whole units, and nothing else has to."""
    names = list(PARALLEL.widths)
    scores = {name: torch.zeros(40) for name in names}
    fitting = dict(zip(names, (39, 40, 40), strict=True))
    limits = Limits(PARALLEL, {"macs": PARALLEL.cost(fitting).macs})
    kept = keep_by_knapsack(PARALLEL, scores, dict.fromkeys(names, 1), limits)
    assert list(kept.widths.values()) == [39, 40, 40]


def test_multiples_that_cannot_meet_a_budget_say_so():
    graph = GRAPHS[1]
    widened = widened_widths(graph, 2.0)
    limits = Limits(graph, {"memory": graph.peak_memory([[7, 7, 7]])[0]})
    with pytest.raises(BudgetError, match=r"multiples of 16 .* bytes of activations"):
        keep_by_threshold(
            graph,
            random_scores(widened, 0, 1.0),
            floors(graph, widened, 0, 0),
            limits,
            dict.fromkeys(widened, 16),
        )


def test_the_units_that_stay_are_the_best_and_of_equal_ones_the_first():
    scores = {"a": torch.tensor([3.0, 9.0, 3.0, 7.0, 3.0]), "b": torch.tensor([-1.0, -2.0, 5.0])}
    units = best_units(scores, {"a": 3, "b": 2})
    assert {name: kept.tolist() for name, kept in units.items()} == {"a": [0, 1, 3], "b": [0, 2]}


def test_floors_are_fractions_of_the_widened_width_and_higher_before_the_output():
    graph = GRAPHS[1]
    least = floors(graph, widened_widths(graph, 2.0), 0.4, 0.45)
    assert least == {"one": 10, "two": 16, "three": 15}  # 0.4*24, 0.4*40, 0.45*32, rounded up


def test_limits_are_fractions_of_the_baseline_or_of_the_widened_network():
    graph = GRAPHS[1]
    # 16x16: one 3*12*9*256, two 12*20*9*64, three 20*16*9*64, head 16*5
    macs = 3 * 12 * 9 * 256 + 12 * 20 * 9 * 64 + 20 * 16 * 9 * 64 + 16 * 5
    widened = widened_widths(graph, 2.0)
    assert Limits.of(graph, widened, Budget(macs=0.5)).allowed == {"macs": macs // 2}
    wide = 3 * 24 * 9 * 256 + 24 * 40 * 9 * 64 + 40 * 32 * 9 * 64 + 32 * 5
    quarter = Limits.of(graph, widened, Budget(macs=0.25, of="widened"))
    assert quarter.allowed == {"macs": wide // 4}


@pytest.mark.parametrize(
    ("allowed", "word"), [({"macs": 10**12}, "not below"), ({"params": 10}, "floors alone")]
)
def test_impossible_budgets_say_so(allowed, word):
    graph = GRAPHS[0]
    widened = widened_widths(graph, 2.0)
    with pytest.raises(BudgetError, match=word):
        keep_by_threshold(
            graph,
            random_scores(widened, 0, 1.0),
            floors(graph, widened, 0.4, 0.4),
            Limits(graph, allowed),
        )


def test_resnet50_costs_are_those_of_the_paper():
    graph = trace(timm.create_model("resnet50"), torch.zeros(1, 3, 224, 224))
    assert (graph.cost().macs, graph.cost().params) == (4_089_184_256, 25_557_032)
    assert graph.cost(widened_widths(graph, 2.0)).macs == 16_116_613_120
