"""What trials of several lengths say of the same networks, for ``trial_length.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV

from lwdna.channels import ChannelGraph
from lwdna.methods.limits import FloatArray, IntArray
from trial_length_networks import REACH, features_of, fitted, limits_of

JUDGED = 0.25
"""Last part of a trial whose loss counts, as for trials of a search."""
CUTS = {"1/8": 0.125, "1/4": 0.25, "1/2": 0.5, "3/4": 0.75}
RIDGES = np.logspace(-2, 2, 17)
CANDIDATES, ROUNDS = 3000, 4
FEWEST = 8
"""Networks that a kind of trial must have tried to be analysed."""
FEWER, DRAWS = (2, 4), 6
"""Whole trainings of a half and a quarter of the networks, which cost as much as shorter trials of
all of them, are averaged over so many random choices."""
LEAST = 0.002
"""A judge's law that promises no more than this finds nothing to gain."""
JUDGES = ("loss", "error")
"""What judges networks: training loss late in the whole training, and validation error."""

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """What one kind of trial measured of N networks, by their numbers."""

    values: Mapping[int, float]
    """Logarithm of the loss, or of what judges networks."""
    seconds: float
    """Mean time of a training on one core."""

    def shared(self, other: Sample) -> list[int]:
        """Return the networks that both have measured."""
        return [number for number in self.values if number in other.values]

    def of(self, numbers: Sequence[int]) -> FloatArray:
        return np.array([self.values[number] for number in numbers])


class Networks:
    """The networks that were trained: their widths, and the features that laws are in."""

    def __init__(self, graph: ChannelGraph, widths: Mapping[int, Sequence[int]]) -> None:
        self.limits = limits_of(graph)
        self.base = np.array(list(graph.widths.values()))
        self.features = features_of(graph)
        self._widths = widths

    def rows(self, numbers: Sequence[int]) -> FloatArray:
        """Return the features of some networks, (N, features)."""
        return self.measured(np.array([self._widths[number] for number in numbers]))

    def measured(self, widths: IntArray) -> FloatArray:
        """Return the mean log ratio to the baseline in every feature, (N, features)."""
        ratios = np.log(widths / self.base)
        return np.stack([ratios[:, groups].mean(1) for groups in self.features.values()], axis=1)

    def within_budget(self, rows: FloatArray) -> IntArray:
        """Return networks of wanted features, (N, groups), as wide as the budget allows."""
        wanted = np.zeros((len(rows), len(self.base)))
        for column, groups in enumerate(self.features.values()):
            wanted[:, groups] = rows[:, column, None]
        return fitted(wanted, self.base, self.limits)

    def best(self, law: RidgeCV) -> FloatArray:
        """Return the features, (features,), of the network that a law likes best: random search,
        then steps around the leaders."""
        generator = np.random.default_rng(0)
        reach = np.log(REACH)
        rows = generator.uniform(-reach, reach, (CANDIDATES, len(self.features)))
        for round_ in range(ROUNDS):
            rows = self.measured(self.within_budget(rows))
            leaders = rows[np.argsort(law.predict(rows))[:50]]
            around = leaders[generator.integers(len(leaders), size=CANDIDATES - len(leaders))]
            step = reach / 4 / 2**round_
            rows = np.vstack([leaders, around + step * generator.standard_normal(around.shape)])
        found: FloatArray = leaders[0]
        return found


def analyse(lines: Sequence[Line], graph: ChannelGraph) -> list[dict[str, Any]]:
    """Return one row per kind of trial: how well it tells which networks will be good."""
    whole = [line for line in lines if line["variant"] == "whole"]
    networks = Networks(graph, {line["number"]: line["widths"] for line in lines})
    judges = {
        "loss": sample(whole, late_loss),
        "error": sample(whole, lambda line: float(np.log(1 - line["top1"] / 100))),
    }
    kinds = {name: [one] for name, one in samples(lines).items() if len(one.values) >= FEWEST}
    for share in FEWER:
        kinds[f"whole, 1/{share} of the networks"] = fewer(judges["loss"], share)
    rows = []
    for name, some in kinds.items():
        measured = [judged(one, judges, networks) for one in some]
        means = {key: round(float(np.mean([m[key] for m in measured])), 4) for key in measured[0]}
        rows.append({"trial": name, "networks": len(some[0].values), **means})
    return rows


def fewer(whole: Sample, share: int) -> list[Sample]:
    """Return random choices of one in ``share`` of the networks."""
    generator = np.random.default_rng(share)
    numbers, count = list(whole.values), len(whole.values) // share
    return [
        Sample({n: whole.values[n] for n in generator.permutation(numbers)[:count]}, whole.seconds)
        for _ in range(DRAWS)
    ]


def samples(lines: Sequence[Line]) -> dict[str, Sample]:
    """Return what every kind of trial measured, those included that whole trainings imply."""
    by_variant = {
        name: [line for line in lines if line["variant"] == name]
        for name in dict.fromkeys(line["variant"] for line in lines)
    }
    whole = by_variant.pop("whole")
    found = {"whole": sample(whole, late_loss)}
    for name, share in CUTS.items():
        found[f"cut {name}"] = sample(whole, lambda line, s=share: late_loss(line, s), share)
        found[f"cut {name}, extrapolated"] = sample(
            whole, lambda line, s=share: extrapolated(line, s), share
        )
    return found | {name: sample(some, late_loss) for name, some in by_variant.items()}


def sample(lines: Sequence[Line], value: Callable[[Line], float], share: float = 1.0) -> Sample:
    """Measure every training by ``value``; only a ``share`` of it takes time."""
    seconds = float(np.mean([line["seconds"] for line in lines])) * share
    return Sample({line["number"]: value(line) for line in lines}, seconds)


def late_loss(line: Line, share: float = 1.0) -> float:
    """Return the logarithm of the mean loss over the last quarter of a share of the training."""
    seen = line["curve"][: round(share * len(line["curve"]))]
    return float(np.log(np.mean(seen[-max(1, round(JUDGED * len(seen))) :])))


def extrapolated(line: Line, share: float) -> float:
    """Return the log loss late in training by a power law through the last half of what is seen."""
    curve = np.log(line["curve"])
    times = np.log(np.arange(len(curve)) + 0.5)
    seen = slice(round(share * len(curve)) // 2, round(share * len(curve)))
    slope, start = np.polyfit(times[seen], curve[seen], 1)
    return float(start + slope * np.log((1 - JUDGED / 2) * len(curve)))


def law_of(one: Sample, networks: Networks) -> RidgeCV:
    """Return the log loss as a linear function of the features."""
    numbers = list(one.values)
    return RidgeCV(RIDGES).fit(networks.rows(numbers), one.of(numbers))


def judged(one: Sample, judges: Mapping[str, Sample], networks: Networks) -> dict[str, float]:
    """Return how well trials agree with what judges networks in the end.

    ``cost``: time of all trials as a share of the time of as many whole trainings as there are.
    For each judge, ``rank``: Spearman's correlation with it. ``foresight``: correlation of what the
    trials' law says of each network, fitted without it, with what it came to. ``gain``: fall of the
    log loss, or error, by the judge's own law, of the network that the trials' law likes best;
    ``most``: the same of the network that the judge's law likes best.
    """
    whole = judges[JUDGES[0]]
    time = one.seconds * len(one.values) / (whole.seconds * len(whole.values))
    found = {"cost": time}
    best = networks.best(law_of(one, networks))
    for name, judge in judges.items():
        slopes = np.asarray(law_of(judge, networks).coef_)
        shared = one.shared(judge)
        foreseen = [foresight(one, number, networks) for number in judge.values]
        actual = judge.of(list(judge.values))
        found[f"rank_{name}"] = float(spearmanr(one.of(shared), judge.of(shared))[0])
        found[f"foresight_{name}"] = float(np.corrcoef(foreseen, actual)[0, 1])
        found[f"gain_{name}"] = float(-slopes @ best)
        found[f"most_{name}"] = float(-slopes @ networks.best(law_of(judge, networks)))
    return found


def foresight(one: Sample, number: int, networks: Networks) -> float:
    """Return what the law of the other networks says of one."""
    others = {other: value for other, value in one.values.items() if other != number}
    law = law_of(Sample(others, one.seconds), networks)
    return float(law.predict(networks.rows([number]))[0])


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the rows as a Markdown table."""
    found = [
        "| trial | networks | cost | rank: loss | error | foresight: loss | error "
        "| gain: loss | error | of the most: loss | error |",
        "|---|" + "---:|" * 10,
    ]
    for row in rows:
        cells = [row["trial"], str(row["networks"]), f"{row['cost']:.2f}"]
        cells += [f"{row[f'{k}_{j}']:.2f}" for k in ("rank", "foresight") for j in JUDGES]
        cells += [f"{100 * row[f'gain_{j}']:.1f} %" for j in JUDGES]
        cells += [_share(row[f"gain_{j}"], row[f"most_{j}"]) for j in JUDGES]
        found.append(f"| {' | '.join(cells)} |")
    return found


def _share(gain: float, most: float) -> str:
    """Return a gain as a share of the most, or a dash where there is next to nothing to gain."""
    return f"{100 * gain / most:.0f} %" if most > LEAST else "–"
