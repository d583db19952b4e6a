"""Budgets spent in proportion to importance: the optimum, priors and curvature by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kept import GRAPHS, PARALLEL, random_scores
from torch import Tensor, nn

from lwdna.channels import trace, widened_widths
from lwdna.methods.keep.proportional import keep_in_proportion
from lwdna.methods.limits import Limits


class Residual(nn.Module):
    """A residual stream of 40 channels and three blocks of 40 channels inside."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 40, 3, padding=1, bias=False)
        self.into = nn.ModuleList(nn.Conv2d(40, 40, 3, padding=1, bias=False) for _ in range(3))
        self.out = nn.ModuleList(nn.Conv2d(40, 40, 3, padding=1, bias=False) for _ in range(3))
        self.head = nn.Linear(40, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for into, out in zip(self.into, self.out, strict=True):
            x = x + out(into(x).relu())
        return self.head(x.mean((2, 3)))


RESIDUAL = trace(Residual(), torch.zeros(1, 3, 16, 16))


def _of_sums(graph, widened, sums):
    """Scores of groups, so that they add up to ``sums``, in the graph's order."""
    return {
        group.name: torch.full((widened[group.name],), total / widened[group.name]).double()
        for group, total in zip(graph.groups, sums, strict=True)
    }


@pytest.mark.parametrize("curvature", [0.0, 0.5, 1.0])
def test_units_cost_in_proportion_to_the_importance_of_their_group(curvature):
    widened = widened_widths(PARALLEL, 4.0)
    scores = _of_sums(PARALLEL, widened, [1.0, 2.0, 0.1])
    limits = Limits(PARALLEL, {"macs": 400_000})
    least = dict.fromkeys(widened, 1)
    widths = keep_in_proportion(
        PARALLEL, scores, least, limits, prior=0.0, curvature=curvature
    ).widths
    one, two, three = (  # all branches are 40 channels wide at first
        width ** (1 + curvature) * (27 * positions + 5)
        for width, positions in zip(widths.values(), (256, 64, 16), strict=True)
    )
    assert two / one == pytest.approx(2.0, rel=0.1)  # whole units
    assert three / one == pytest.approx(0.1, rel=0.15 if curvature else 0.1)


def test_a_prior_weighs_scores_against_what_the_baseline_says():
    """A unit costs 6917, 1733 and 437 MACs: so are the importances that the baseline implies."""
    widened = widened_widths(PARALLEL, 4.0)
    scores = _of_sums(PARALLEL, widened, [1.0, 2.0, 0.25])
    limits = Limits(PARALLEL, {"macs": 400_000})
    given = (PARALLEL, scores, dict.fromkeys(widened, 1), limits)
    widths = keep_in_proportion(*given, prior=0.25, curvature=0.0).widths
    one, two, three = (n * c for n, c in zip(widths.values(), (6917, 1733, 437), strict=True))
    assert two / one == pytest.approx(2**0.75 * (1733 / 6917) ** 0.25, rel=0.05)
    assert three / one == pytest.approx(0.25**0.75 * (437 / 6917) ** 0.25, rel=0.1)


@pytest.mark.parametrize("curvature", [0.0, 1.0])
@pytest.mark.parametrize("resources", [("macs",), ("params",), ("macs", "params")])
def test_who_trusts_the_baseline_alone_gets_the_baseline(resources, curvature):
    widened = widened_widths(PARALLEL, 4.0)
    limits = Limits(PARALLEL, dict.fromkeys(resources, 0.0))
    limits = Limits(PARALLEL, limits.usage_of())
    scores = random_scores(widened, 0, 4.0)
    least = dict.fromkeys(widened, 1)
    widths = keep_in_proportion(
        PARALLEL, scores, least, limits, prior=1.0, curvature=curvature
    ).widths
    assert widths == PARALLEL.widths


@pytest.mark.parametrize("resources", [("macs",), ("params",), ("macs", "params")])
def test_with_curvature_a_residual_network_comes_back_from_trust_in_the_baseline(resources):
    widened = widened_widths(RESIDUAL, 4.0)
    limits = Limits(RESIDUAL, dict.fromkeys(resources, 0.0))
    limits = Limits(RESIDUAL, limits.usage_of())
    scores = random_scores(widened, 0, 4.0)
    least = dict.fromkeys(widened, 1)
    widths = keep_in_proportion(RESIDUAL, scores, least, limits, prior=1.0, curvature=1.0).widths
    assert widths == pytest.approx(RESIDUAL.widths, rel=0.02, abs=1)


def _growth_of_a_more_important_stream(curvature):
    widened = widened_widths(RESIDUAL, 4.0)
    names = [group.name for group in RESIDUAL.groups]
    widths = np.array([RESIDUAL.widths[name] for name in names])
    limits = Limits(RESIDUAL, {"macs": RESIDUAL.cost().macs})
    importances = widths * limits.differences(widths, 1)["macs"]
    stream = next(i for i, group in enumerate(RESIDUAL.groups) if len(group.members) > 2)
    importances[stream] *= 1.2
    scores, least = _of_sums(RESIDUAL, widened, importances), dict.fromkeys(widened, 1)
    found = keep_in_proportion(
        RESIDUAL, scores, least, limits, prior=0.0, curvature=curvature
    ).widths
    return found[names[stream]] / widths[stream]


def test_curvature_keeps_a_residual_stream_from_eating_the_insides_of_its_blocks():
    """What both cost is a product, so that a value of log n has no optimum but the bounds."""
    assert 1.02 < _growth_of_a_more_important_stream(1.0) < 1.2
    assert 1.02 < _growth_of_a_more_important_stream(0.5) < 1.4
    assert _growth_of_a_more_important_stream(0.0) > 2


@settings(deadline=None, max_examples=50)
@given(
    graph=st.sampled_from(GRAPHS),
    seed=st.integers(0, 10**6),
    curvature=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_widths_are_the_optimum_of_a_geometric_programme(graph, seed, curvature):
    """Any widths are best for the importances that they imply: none better or worse is found."""
    graph = graph.at({name: 16 * width for name, width in graph.widths.items()})
    widened = widened_widths(graph, 2.0)
    generator = np.random.default_rng(seed)
    best = np.array([int(generator.uniform(0.4, 1.6) * graph.widths[g.name]) for g in graph.groups])
    limits = Limits(graph, {"macs": 0})
    limits = Limits(graph, {"macs": int(limits.usage(best[None])["macs"][0])})
    shares = best * limits.differences(best, 1)["macs"]
    shares /= shares.sum()
    baseline = np.array([graph.widths[group.name] for group in graph.groups])
    importances = shares * (best / baseline) ** curvature
    scores, least = _of_sums(graph, widened, importances), dict.fromkeys(widened, 1)
    widths = keep_in_proportion(graph, scores, least, limits, prior=0.0, curvature=curvature).widths
    found = np.array([widths[group.name] for group in graph.groups])
    gain = (1 - (best / found) ** curvature) / curvature if curvature else np.log(found / best)
    assert (shares * gain).sum() == pytest.approx(0, abs=0.02)


def test_reversed_scores_give_most_to_what_was_least_important():
    widened = widened_widths(PARALLEL, 4.0)
    limits = Limits(PARALLEL, {"params": 3 * 40 * 32})
    least = dict.fromkeys(widened, 1)
    found = [
        list(
            keep_in_proportion(
                PARALLEL,
                _of_sums(PARALLEL, widened, [sign * 1.0, sign * 2.0, sign * 4.0]),
                least,
                limits,
                prior=0.0,
            ).widths.values()
        )
        for sign in (1, -1)
    ]
    assert found[0] == sorted(set(found[0]))
    assert found[1] == found[0][::-1]


def test_a_group_without_any_importance_gets_what_no_other_can_use():
    widened = widened_widths(PARALLEL, 4.0)
    scores = _of_sums(PARALLEL, widened, [1.0, 0.0, 1.0])
    least = dict.fromkeys(widened, 3)
    limits = Limits(PARALLEL, {"macs": 400_000})
    widths = keep_in_proportion(PARALLEL, scores, least, limits).widths
    above = list(widths.values())[1] - 3
    assert above * (27 * 64 + 5) < 27 * 256 + 5
