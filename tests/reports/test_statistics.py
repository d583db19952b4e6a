"""Statistics against numbers worked out by hand, tables and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from lwdna.reports.statistics import compare, detectable, examples_of, seeds_needed, spread


def outcomes(seeds: int, examples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (seeds, examples)) * 100.0


def test_spread_is_that_of_a_sample() -> None:
    found = spread(np.array([1.0, 2.0, 6.0]))
    assert found.mean == 3.0
    assert found.sd == pytest.approx(7**0.5)  # (4 + 1 + 9) / 2
    assert spread(np.array([5.0])).sd is None


def test_the_t_interval_is_that_of_the_paired_test() -> None:
    first, second = outcomes(5, 40), outcomes(5, 40, seed=1)
    found = compare(first, second)
    tested = stats.ttest_rel(second.mean(1), first.mean(1)).confidence_interval(0.95)
    assert found.t_interval == pytest.approx((tested.low, tested.high))
    assert found.mean == pytest.approx((second - first).mean())
    assert found.values == pytest.approx((second - first).mean(1))


def test_the_bootstrap_over_few_seeds_goes_through_all_resamples() -> None:
    first, second = outcomes(3, 7), outcomes(3, 7, seed=1)
    values = compare(first, second).values
    means = [sum(chosen) / 3 for chosen in itertools.product(values, repeat=3)]
    assert compare(first, second).seeds_interval == pytest.approx(
        tuple(np.percentile(means, [2.5, 97.5]))
    )


def test_pairing_removes_what_seeds_share() -> None:
    """All differences are equal, however much the seeds differ."""
    first = np.array([[0.0, 10.0], [50.0, 60.0], [80.0, 90.0]])
    found = compare(first, first + 2)
    assert found.mean == 2.0
    assert found.interval == (2.0, 2.0)
    assert found.sign == 1
    assert compare(first + 2, first).sign == -1
    assert compare(first, first).sign == 0


def test_examples_add_to_the_uncertainty_of_seeds() -> None:
    """Seeds agree exactly, but half of the examples gain what the other half loses."""
    first = np.zeros((4, 50))
    second = np.tile([100.0, -100.0], (4, 25))
    found = compare(first, second)
    assert found.t_interval == found.seeds_interval == (0.0, 0.0)
    low, high = found.both_interval or (0, 0)
    error = 1.96 * 100 / 50**0.5
    assert (low, high) == pytest.approx((-error, error), rel=0.15)
    assert found.interval == found.both_interval
    assert found.sign == 0


def test_one_seed_is_no_evidence() -> None:
    found = compare(np.zeros((1, 10)), np.ones((1, 10)))
    assert (found.mean, found.interval, found.detectable, found.sign) == (1.0, None, None, 0)


def test_the_same_outcomes_give_the_same_intervals() -> None:
    first, second = outcomes(8, 30), outcomes(8, 30, seed=1)
    assert compare(first, second) == compare(first, second)


@pytest.mark.parametrize(("seeds", "effect"), [(5, 1.6816), (10, 0.9964), (34, 0.4950)])
def test_detectable_differences_agree_with_tables(seeds: int, effect: float) -> None:
    """Effect sizes of a two-sided paired t test at 5 % with 80 % power."""
    assert detectable(1.0, seeds) == pytest.approx(effect, rel=0.01)
    assert detectable(3.0, seeds) == pytest.approx(3 * effect, rel=0.01)
    assert seeds_needed(1.0, effect * 1.005) == seeds


def test_a_detectable_difference_is_found_four_times_in_five() -> None:
    generator = np.random.default_rng(0)
    differences = generator.normal(detectable(1.0, 5), 1.0, (20_000, 5))
    found = stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_many_seeds_may_not_be_enough() -> None:
    assert seeds_needed(1.0, 0.01, most=30) is None


def test_halves_share_no_example_and_stay_what_they_are() -> None:
    choose, report = examples_of("choose", 101), examples_of("report", 101)
    assert (len(choose), len(report)) == (50, 51)
    assert sorted([*choose, *report]) == list(range(101)) == list(examples_of("whole", 101))
    assert list(examples_of("choose", 8)) == list(examples_of("choose", 8))
    assert list(examples_of("choose", 8)) != [0, 1, 2, 3]
