"""What several seeds and many validation examples say of the difference between two networks.

A difference is paired twice: both networks were trained with the same seeds (order of the data,
augmentation) and judged on the same examples. Everything random here follows from a fixed seed.

Which interval to trust depends on what is few. With few seeds, a bootstrap over seeds is too
narrow: it cannot reach beyond the differences seen, and with five seeds the whole range of these
covers the truth in 94 % of cases at best. Student's t interval is exact for any number of seeds
if the differences are normally distributed, which means over thousands of examples nearly are;
it takes the examples as given. A bootstrap over seeds and examples allows for both. The interval
to judge by is the hull of all three.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Half = Literal["whole", "choose", "report"]
HALVES: tuple[Half, ...] = ("whole", "choose", "report")
"""Parts of the validation set: settings are chosen on one half and reported on the other."""

Floats = NDArray[np.float64]
Interval = tuple[float, float]

CONFIDENCE = 0.95
POWER = 0.8
_EXHAUSTIVE = 6
"""Up to this many seeds the bootstrap over seeds goes through all resamples."""
_RESAMPLES = 10_000
_RESAMPLES_OF_BOTH = 2_000
_TOGETHER = 100
"""Resamples of both that are worked on at once."""
_QUANTILES = 2_000
_SEED = 200616242


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds (``None`` for a single seed)."""

    mean: float
    sd: float | None


@dataclass(frozen=True)
class Difference:
    """How much larger a metric is of one network than of another, in its unit.

    Intervals and ``detectable`` are ``None`` where one seed is all there is.
    """

    values: tuple[float, ...]
    """By seed."""
    mean: float
    sd: float | None
    t_interval: Interval | None
    """Student's t over seeds."""
    seeds_interval: Interval | None
    """Percentile bootstrap over seeds."""
    both_interval: Interval | None
    """Percentile bootstrap over seeds and, independently, examples; ``None`` of a single one."""
    detectable: float | None
    """The smallest true difference that as many seeds would show with a probability of 80 %."""

    @property
    def interval(self) -> Interval | None:
        """The hull of all intervals: the one to judge by."""
        known = [i for i in (self.t_interval, self.seeds_interval, self.both_interval) if i]
        return (min(low for low, _ in known), max(high for _, high in known)) if known else None

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies above or below zero, 0 where it holds zero."""
        low, high = self.interval or (0.0, 0.0)
        return int(low > 0) - int(high < 0)


def examples_of(half: Half, count: int) -> NDArray[np.int64]:
    """Return the examples of a part of a validation set of ``count``, in ascending order.

    Which belong to which half follows from their number alone.
    """
    if half == "whole":
        return np.arange(count)
    order = np.random.default_rng(_SEED).permutation(count)
    middle = count // 2
    return np.sort(order[:middle] if half == "choose" else order[middle:])


def spread(values: Floats) -> Spread:
    """Summarise one figure per seed, shape (S,)."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), sd)


def compare(first: Floats, second: Floats) -> Difference:
    """Compare two networks, ``second`` minus ``first``.

    Args:
        first: outcomes by seed and example, shape (S, N), or (S, 1) of a metric as a whole.
        second: the same of the other network, with the same seeds and examples.
    """
    difference = second.astype(np.float64) - first
    values = difference.mean(axis=1)
    count = len(values)
    found = spread(values)
    if found.sd is None:
        return Difference(tuple(values.tolist()), found.mean, None, None, None, None, None)
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * found.sd / math.sqrt(count)
    return Difference(
        values=tuple(values.tolist()),
        mean=found.mean,
        sd=found.sd,
        t_interval=(found.mean - margin, found.mean + margin),
        seeds_interval=_percentiles(values[_resamples(count)].mean(axis=1)),
        both_interval=(
            _percentiles(_means_of_both(difference)) if difference.shape[1] > 1 else None
        ),
        detectable=detectable(found.sd, count),
    )


def examples_interval(first: Floats, second: Floats) -> Interval | None:
    """Return a 95 % interval of the mean of ``second - first`` over the examples of one training.

    It says what other examples might have shown of these two trainings, nothing of other seeds.
    Where every outcome is 0 or 100, right or wrong, it is the adjusted Wald interval of Bonett and
    Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data", Journal of Educational and Behavioral Statistics 37 (2012), which keeps its width
    where few examples differ; otherwise Student's t.

    Args:
        first: outcomes of one network, shape (N,).
        second: the same of the other, for the same examples.

    Returns:
        The interval; ``None`` of a single example.
    """
    count = len(first)
    if count < 2:
        return None
    difference = second.astype(np.float64) - first
    if bool(np.isin(first, (0, 100)).all() and np.isin(second, (0, 100)).all()):
        gained, lost = (((difference * way > 0).sum() + 1) / (count + 2) for way in (1, -1))
        middle = 100 * float(gained - lost)
        error = 100 * math.sqrt((gained + lost - (gained - lost) ** 2) / (count + 2))
        margin = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
    else:
        middle = float(difference.mean())
        error = float(difference.std(ddof=1)) / math.sqrt(count)
        margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return middle - margin, middle + margin


def detectable(sd: float, seeds: int) -> float:
    """Return the smallest true difference that a paired t test finds with a probability of 80 %.

    Args:
        sd: standard deviation of the paired differences over seeds.
        seeds: how many, at least 2.
    """
    freedom = seeds - 1
    critical = stats.t.ppf((1 + CONFIDENCE) / 2, freedom)
    # The test's t is (z + shift) / s with s * s chi-squared over its degrees of freedom; the mean
    # over s of what z then has to exceed is steadier than scipy's noncentral t.
    quantiles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    limits = critical * np.sqrt(stats.chi2.ppf(quantiles, freedom) / freedom)

    def missing(shift: float) -> float:
        found = stats.norm.sf(limits - shift) + stats.norm.cdf(-limits - shift)
        return float(found.mean()) - POWER

    shift: float = optimize.brentq(missing, 0, 100)
    return shift * sd / math.sqrt(seeds)


def seeds_needed(sd: float, difference: float, most: int = 200) -> int | None:
    """Return how many seeds make ``difference`` detectable; ``None`` if more than ``most``."""
    for seeds in range(2, most + 1):
        if detectable(sd, seeds) <= difference:
            return seeds
    return None


def _resamples(count: int) -> NDArray[np.int64]:
    """Return the seeds of every resample, shape (R, count)."""
    if count <= _EXHAUSTIVE:
        return np.indices((count,) * count).reshape(count, -1).T
    return np.random.default_rng(_SEED).integers(0, count, (_RESAMPLES, count))


def _means_of_both(difference: Floats) -> Floats:
    """Resample rows (seeds) and columns (examples) independently: Owen's pigeonhole bootstrap.

    Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007): for crossed factors
    it errs on the wide side.
    """
    rows, columns = _resamples_of_both(*difference.shape)
    means = np.empty(_RESAMPLES_OF_BOTH)
    for start in range(0, len(means), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        sums = rows[part].astype(np.float64) @ difference
        means[part] = np.einsum("re,re->r", sums, columns[part]) / difference.size
    return means


@lru_cache(maxsize=1)
def _resamples_of_both(seeds: int, examples: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return how often each seed, (R, seeds), and each example, (R, examples), is in a resample.

    All pairs of arms with as many seeds have the same.
    """
    generator = np.random.default_rng(_SEED)
    rows = np.empty((_RESAMPLES_OF_BOTH, seeds), np.uint16)
    columns = np.empty((_RESAMPLES_OF_BOTH, examples), np.uint16)
    for row, column in zip(rows, columns, strict=True):
        for counts in (row, column):
            size = len(counts)
            counts[:] = np.bincount(generator.integers(0, size, size), minlength=size)
    return rows, columns


def _percentiles(means: Floats) -> Interval:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)
