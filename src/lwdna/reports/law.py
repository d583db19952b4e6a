"""What a search by trials learnt: the geometry of its picture, and the law in words.

The law says that the loss is a product of powers of the widths. What a channel more is worth is
the exponent of its group, what it costs the elasticity of the cost. Where widths are best the two
are in proportion, so both are shown as parts of their sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lwdna.reports.axes import Axis, Tick, axis_around
from lwdna.reports.formats import MISSING, format_signed
from lwdna.reports.records import FeatureRecord, GainRecord, LawRecord
from lwdna.reports.run_files import parse_record
from lwdna.reports.tables import Figures
from lwdna.reports.verdict import cost_in_words

SURE = 1.96
"""Half of a 95 % interval, in standard errors."""
_RESOURCES = {"macs": "MACs", "params": "parameters", "memory": "peak memory"}


@dataclass(frozen=True)
class FeatureRow:
    """One feature: places between 0 and 1 on the axis of shares, and texts."""

    name: str
    title: str
    worth: tuple[float, float]
    """Where the bar of its exponent begins and how long it is."""
    interval: tuple[float, float]
    cost: tuple[float, float] | None
    exponent_text: str
    doubled_text: str
    cost_text: str
    pays: str
    """``more`` or ``less`` where it is surely worth more or less than it costs."""


@dataclass(frozen=True)
class LawView:
    """Everything that the law's section shows."""

    sentence: str
    reason: str
    rows: list[FeatureRow]
    ticks: list[Tick]
    zero: float
    budgets: list[tuple[str, str, str]]
    """What a budget allows, by how much the loss would fall, and the interval of that."""


@dataclass(frozen=True)
class _Shares:
    """A feature's parts of all exponents and of all costs."""

    worth: float
    low: float
    high: float
    cost: float | None

    @property
    def pays(self) -> str:
        if self.cost is None:
            return ""
        return "more" if self.low > self.cost else "less" if self.high < self.cost else ""


def law_view(law: LawRecord | None, cost: str = "") -> LawView | None:
    """Lay out what a law says; ``None`` where there is none.

    Args:
        law: as ``search.json`` has it.
        cost: how the network found differs in MACs and parameters, in words.
    """
    if law is None:
        return None
    shares = _shares(law)
    ends = [0.0, *(end for one in shares for end in (one.worth, one.low, one.high))]
    axis = axis_around([*ends, *(one.cost for one in shares if one.cost is not None)])
    return LawView(
        sentence=law_sentence(law, cost),
        reason=_why(law),
        rows=[_row(*pair, axis) for pair in zip(law.features, shares, strict=True)],
        ticks=axis.ticks(lambda value: format_signed(100 * value), count=4),
        zero=axis.position(0.0),
        budgets=[(_allowed(one.budget), *_fall(one.gain)) for one in law.budgets],
    )


def law_sentence(law: LawRecord, cost: str = "") -> str:
    """Return by how much the loss is expected to fall, or that the baseline was kept.

    Args:
        law: what was learnt.
        cost: how the network found differs in MACs and parameters, in words.
    """
    if law.kept_baseline:
        return "The search kept the baseline: no gain is sure."
    if law.gain is None:
        return ""
    way = "fall" if law.gain.mean >= 0 else "rise"
    fall, interval = _fall(law.gain)
    said = f" (95 % interval {interval})" if interval != MISSING else ""
    at = f" at {cost}" if cost else ""
    return f"The loss is expected to {way} by {fall.removeprefix('−')}{said}{at}."


def _why(law: LawRecord) -> str:
    """Return the reason for the widths, and on what the law was learnt."""
    values = ", ".join(f"{key}={value}" for key, value in law.proxy.items())
    return " ".join(filter(None, (law.reason, values and f"Learnt on a proxy: {values}.")))


def law_lines(found: Mapping[str, Any], before: Figures, after: Figures) -> list[str]:
    """Return what a search learnt as lines for a terminal; none where there is no law.

    Args:
        found: how an architecture was found, as its file says it.
        before: MACs and parameters of the baseline.
        after: those of the network found.
    """
    if not found.get("law"):
        return []
    law = parse_record(LawRecord, found["law"], "the architecture’s law")
    sentence = law_sentence(law, cost_in_words(before, after))
    lines = [" ".join(filter(None, (sentence, _why(law))))]
    paired = list(zip(law.features, _shares(law), strict=True))
    for which in ("more", "less"):
        names = [
            f"{feature.name} (twice as wide: loss {_doubled(feature)})"
            for feature, share in paired
            if share.pays == which
        ]
        if names:
            lines.append(f"surely worth {which} than it costs: {', '.join(names)}")
    if paired and len(lines) == 1:
        lines.append("no part of the network is surely worth more or less than it costs")
    if any(one.gain.mean for one in law.budgets):
        falls = ((_allowed(one.budget), *_fall(one.gain)) for one in law.budgets)
        told = (f"{budget}: {fall} ({interval})" for budget, fall, interval in falls)
        lines.append(f"how much the loss would fall with other budgets: {'; '.join(told)}")
    return [line for line in lines if line]


def _shares(law: LawRecord) -> list[_Shares]:
    exponents = [feature.exponent for feature in law.features]
    whole = sum(max(one, 0.0) for one in exponents) or max(map(abs, exponents), default=0.0) or 1.0
    costs = [feature.cost for feature in law.features if feature.cost is not None]
    dearest = sum(costs) or 1.0
    return [
        _Shares(
            worth=one.exponent / whole,
            low=(one.exponent - SURE * one.error) / whole,
            high=(one.exponent + SURE * one.error) / whole,
            cost=None if one.cost is None else one.cost / dearest,
        )
        for one in law.features
    ]


def _row(feature: FeatureRecord, shares: _Shares, axis: Axis) -> FeatureRow:
    costs = ", ".join(
        f"{value:.2f} % more {_RESOURCES.get(name, name)}" for name, value in feature.costs.items()
    )
    parts = (", ".join(feature.groups), costs and f"1 % more width costs {costs}")
    return FeatureRow(
        name=feature.name,
        title=f"{feature.name}: {'; '.join(filter(None, parts)) or 'groups not known'}",
        worth=_bar(axis, shares.worth),
        interval=(axis.position(shares.low), axis.position(shares.high)),
        cost=None if shares.cost is None else _bar(axis, shares.cost),
        exponent_text=f"{format_signed(feature.exponent, 3)} ± {feature.error:.3f}",
        doubled_text=_doubled(feature),
        cost_text=MISSING if feature.cost is None else f"{feature.cost:.2f}",
        pays=shares.pays,
    )


def _bar(axis: Axis, share: float) -> tuple[float, float]:
    start, end = sorted((axis.position(0.0), axis.position(share)))
    return start, end - start


def _doubled(feature: FeatureRecord) -> str:
    """Return how the loss changes where a feature is twice as wide, ``"−5.6 %"``."""
    change = 100 * (2**-feature.exponent - 1)
    return f"{format_signed(change, 1, plus=True)} %"


def _fall(gain: GainRecord) -> tuple[str, str]:
    """Return a fall of the log loss as percents of the loss: the mean, and the interval."""

    def percent(value: float) -> str:
        return format_signed(100 * (1 - math.exp(-value)), 1)

    if gain.low is None or gain.high is None:
        return f"{percent(gain.mean)} %", MISSING
    return f"{percent(gain.mean)} %", f"{percent(gain.low)} to {percent(gain.high)}"


def _allowed(budget: Mapping[str, Any]) -> str:
    """Return a budget in words, ``"1 × MACs, 1.5 × parameters"``."""
    of = "" if budget.get("of", "baseline") == "baseline" else " of the widened network"
    limits = (
        f"{value:g} × {_RESOURCES.get(name, name)}"
        for name, value in budget.items()
        if isinstance(value, int | float)
    )
    return f"{', '.join(limits)}{of}"
