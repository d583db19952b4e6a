"""What a search by trials concludes: the widths whose gain is surest, or the baseline's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lwdna.methods.budget import Budget
from lwdna.methods.limits import FloatArray, IntArray, Limits
from lwdna.methods.trials.features import Feature
from lwdna.methods.trials.law import Law
from lwdna.methods.trials.region import Region

CAUTION = 1.0
"""Standard errors by which a gain is judged less than it is expected to be."""
SURE = 1.64
"""Standard errors of the gain that the network chosen must gain, else the baseline is kept: 95 % on
one side."""
REACH = 1.96
"""Standard errors of a 95 % interval."""
CAPS = (1.0, 1.25, 1.5, 2.0, None)
"""Caps on parameters for which the report says what the law expects."""


@dataclass(frozen=True)
class Gain:
    """By how much the logarithm of the loss is expected to fall."""

    mean: float
    error: float

    def to_json(self) -> dict[str, float]:
        """Return mean, standard error and the ends of a 95 % interval."""
        low, high = self.mean - REACH * self.error, self.mean + REACH * self.error
        numbers = {"mean": self.mean, "error": self.error, "low": low, "high": high}
        return {key: float(f"{number:.4g}") for key, number in numbers.items()}


@dataclass(frozen=True)
class Conclusion:
    """Widths, and the law that chose them."""

    widths: dict[str, int]
    features: tuple[Feature, ...]
    law: Law
    gain: Gain
    """Of these widths against the baseline's (narrowed to the budget where it exceeds that)."""
    kept_baseline: bool
    costs: tuple[dict[str, float], ...]
    """By how many per cent each limited resource grows with each feature's widths by one."""
    budgets: tuple[tuple[Budget, Gain], ...]
    """What other budgets would bring."""
    origins: tuple[str, ...] = ()
    """What of the proxy tells the exponent of each feature, where the law was learnt on one."""
    proxy: Mapping[str, Any] | None = None
    """The recipe's values that make the proxy."""
    proxy_cost: float | None = None
    """What a whole training of the proxy costs, in trainings of the network."""

    def to_json(self) -> dict[str, Any]:
        """Return the record of the law as JSON data."""
        names = list(self.widths)
        return {
            **self._proxy(),
            "features": [
                {
                    "name": feature.name,
                    "groups": [names[number] for number in feature.groups],
                    "exponent": float(f"{exponent:.4g}"),
                    "error": float(f"{error:.4g}"),
                    "cost": max(costs.values()),
                    "costs": costs,
                    **({"learnt_from": origin} if origin else {}),
                }
                for feature, exponent, error, costs, origin in zip(
                    self.features,
                    self.law.exponents,
                    self.law.errors,
                    self.costs,
                    self.origins or [""] * len(self.features),
                    strict=True,
                )
            ],
            "noise": float(f"{self.law.noise:.4g}"),
            "gain": self.gain.to_json(),
            "kept_baseline": self.kept_baseline,
            "reason": self.reason,
            "budgets": [
                {"budget": budget.fractions(), "gain": gain.to_json()}
                for budget, gain in self.budgets
            ],
        }

    def _proxy(self) -> dict[str, Any]:
        if self.proxy is None or self.proxy_cost is None:
            return {}
        return {"proxy": dict(self.proxy), "proxy_cost": float(f"{self.proxy_cost:.4g}")}

    def summary(self) -> dict[str, Any]:
        """Return the record without the names of groups, for an architecture file."""
        record = self.to_json()
        for feature in record["features"]:
            del feature["groups"]
        return record

    @property
    def reason(self) -> str:
        """Why these widths, in a sentence."""
        if self.kept_baseline:
            return f"No widths within the budget surely gain: less than {SURE} standard errors."
        return "Of all widths within the budget these have the surest gain."


def concluded(region: Region, law: Law, budget: Budget | None = None) -> Conclusion:
    """Return the network whose gain is surest, or the reference where none is.

    Judged is the gain less its standard error, which is nothing for the reference.

    Args:
        region: the networks to choose from.
        law: of their losses.
        budget: that of the region, of which variants are to be judged, too.
    """
    widths, gain = _surest(region, law)
    kept = np.array_equal(widths, region.reference)
    graph = region.space.limits.graph
    return Conclusion(
        widths=dict(zip(graph.widths, widths.tolist(), strict=True)),
        features=tuple(region.features),
        law=law,
        gain=gain,
        kept_baseline=kept,
        costs=tuple(_costs(region)),
        budgets=tuple(_others(region, law, budget)) if budget else (),
    )


def _surest(region: Region, law: Law) -> tuple[IntArray, Gain]:
    def value(moves: FloatArray) -> FloatArray:
        mean, error = law.gains(moves)
        # of networks that are equally good, the one nearest to the reference
        return np.asarray(mean - CAUTION * error - 1e-9 * np.abs(moves).sum(1))

    best = region.filled(region.widths(region.best(value)[None])[0], value)
    mean, error = law.gains(region.moves(best[None]))
    if mean[0] <= SURE * error[0]:
        return region.reference, Gain(0.0, 0.0)
    return best, Gain(float(mean[0]), float(error[0]))


def _costs(region: Region) -> Iterator[dict[str, float]]:
    """Yield by how many per cent resources grow with each feature's widths by one."""
    limits, widths = region.space.limits, region.reference
    now = limits.usage(widths[None])
    slopes = {name: limits.differences(widths, 1)[name] * widths for name in now}
    for feature in region.features:
        groups = list(feature.groups)
        yield {
            name: float(f"{slope[groups].sum() / now[name][0]:.4g}")
            for name, slope in slopes.items()
        }


def _others(region: Region, law: Law, budget: Budget) -> Iterator[tuple[Budget, Gain]]:
    """Yield what other caps on parameters would bring, where something else is limited, too."""
    fractions = budget.fractions()
    if not set(fractions) - {"params"}:
        return
    space = region.space
    for cap in CAPS:
        other = budget.model_copy(update={"params": cap})
        limits = Limits.of(space.limits.graph, space.most, other, space.limits.device)
        if not limits.fits(region.reference[None])[0]:
            continue
        there = replace(region, space=replace(space, limits=limits))
        yield other, _surest(there, law)[1]
