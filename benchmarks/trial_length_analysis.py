"""What trials of several lengths say of the same networks, for ``trial_length.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from lwdna.channels import ChannelGraph, widened_widths
from lwdna.methods.keep import floors
from lwdna.methods.limits import Limits
from lwdna.methods.space import Space
from lwdna.methods.trials.features import gathered
from lwdna.methods.trials.law import Law, fitted
from lwdna.methods.trials.region import Region
from trial_length_networks import BUDGET

JUDGED = 0.25
"""Last part of a trial whose loss counts, as for trials of a search."""
CUTS = {"1/16": 0.0625, "1/8": 0.125, "1/4": 0.25, "1/2": 0.5, "3/4": 0.75}
FEWEST = 8
"""Networks that a kind of trial must have tried to be analysed."""
FEWER, DRAWS = (2,), 6
"""Whole trainings of half of the networks, which cost as much as trials of half the length, are
averaged over so many random choices."""
MOST_FEATURES = 8
JUDGES = ("loss", "error")
"""What judges networks: training loss late in the whole training, and validation error."""

Line = Mapping[str, Any]
Values = Mapping[int, float]
"""Losses, or what else judges networks, by their numbers."""


@dataclass(frozen=True)
class Networks:
    """The networks that were trained, and those that a search would choose from."""

    region: Region
    widths: Mapping[int, Sequence[int]]

    @classmethod
    def of(cls, graph: ChannelGraph, lines: Sequence[Line]) -> Networks:
        widened = widened_widths(graph, 2.0)
        space = Space(
            Limits.of(graph, widened, BUDGET), floors(graph, widened, 0.25, 0.25), widened
        )
        region = Region(space, gathered(graph, MOST_FEATURES), space.base)
        return cls(region, {line["number"]: line["widths"] for line in lines})

    def law(self, values: Values) -> Law:
        """Return the law of losses."""
        layers = np.array([float(feature.layers) for feature in self.region.features])
        widths = np.array([self.widths[number] for number in values])
        return fitted(self.region.moves(widths), np.array(list(values.values())), layers)

    def gain(self, chooser: Law, judge: Law) -> float:
        """Return what one law's best network gains by another law."""
        best = self.region.best(lambda moves: moves @ chooser.exponents)
        return float(judge.gains(self.region.moves(self.region.widths(best[None])))[0][0])


def analyse(lines: Sequence[Line], graph: ChannelGraph) -> list[dict[str, Any]]:
    """Return one row per kind of trial: how well it tells which networks will be good."""
    networks = Networks.of(graph, lines)
    whole = [line for line in lines if line["variant"] == "whole"]
    judges = {
        "loss": measured(whole, late_loss),
        "error": measured(whole, lambda line: 100 - line["top1"]),
    }
    laws = {name: networks.law(values) for name, values in judges.items()}
    rows = []
    for name, some in kinds(lines).items():
        row: dict[str, Any] = {"trial": name, "networks": len(some[0])}
        for judge, law in laws.items():
            shared = [[n for n in one if n in judges[judge]] for one in some]
            ranks = [
                spearmanr([one[n] for n in own], [judges[judge][n] for n in own])[0]
                for one, own in zip(some, shared, strict=True)
            ]
            kept = [networks.gain(networks.law(one), law) for one in some]
            row[f"rank_{judge}"] = round(float(np.mean(ranks)), 3)
            row[f"gain_{judge}"] = round(float(np.mean(kept)), 4)
            row[f"most_{judge}"] = round(networks.gain(law, law), 4)
        rows.append(row)
    return rows


def kinds(lines: Sequence[Line]) -> dict[str, list[Values]]:
    """Return what every kind of trial measured, those included that whole trainings imply."""
    whole = [line for line in lines if line["variant"] == "whole"]
    found = {"whole": [measured(whole, late_loss)]}
    for name, share in CUTS.items():
        found[f"cut {name}"] = [measured(whole, lambda line, s=share: late_loss(line, s))]
    for name, share in list(CUTS.items())[2:]:
        extended = measured(whole, lambda line, s=share: extrapolated(line, s))
        found[f"cut {name}, extrapolated"] = [extended]
    for name in dict.fromkeys(line["variant"] for line in lines if line["variant"] != "whole"):
        some = [line for line in lines if line["variant"] == name]
        if len(some) >= FEWEST:
            found[name] = [measured(some, late_loss)]
    for share in FEWER:
        found[f"whole, 1/{share} of the networks"] = fewer(found["whole"][0], share)
    return found


def fewer(whole: Values, share: int) -> list[Values]:
    """Return random choices of one in ``share`` of the networks."""
    generator = np.random.default_rng(share)
    numbers, count = list(whole), len(whole) // share
    return [{n: whole[n] for n in generator.permutation(numbers)[:count]} for _ in range(DRAWS)]


def measured(lines: Sequence[Line], value: Callable[[Line], float]) -> Values:
    """Measure every training."""
    return {line["number"]: value(line) for line in lines}


def late_loss(line: Line, share: float = 1.0) -> float:
    """Return the mean loss over the last quarter of a share of the training."""
    seen = line["curve"][: round(share * len(line["curve"]))]
    return float(np.mean(seen[-max(1, round(JUDGED * len(seen))) :]))


def extrapolated(line: Line, share: float) -> float:
    """Return the loss late in training by a power law through the last half of what is seen."""
    curve = np.log(line["curve"])
    times = np.log(np.arange(len(curve)) + 0.5)
    seen = slice(round(share * len(curve)) // 2, round(share * len(curve)))
    slope, start = np.polyfit(times[seen], curve[seen], 1)
    return float(np.exp(start + slope * np.log((1 - JUDGED / 2) * len(curve))))


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the rows as a Markdown table."""
    found = [
        "| trial | networks | rank with the loss | with the error | gain kept: loss | error |",
        "|---|" + "---:|" * 5,
    ]
    for row in rows:
        cells = [row["trial"], str(row["networks"])]
        cells += [f"{row[f'rank_{judge}']:.2f}" for judge in JUDGES]
        cells += [f"{row[f'gain_{judge}'] / row[f'most_{judge}']:.0%}" for judge in JUDGES]
        found.append(f"| {' | '.join(cells)} |")
    return found
