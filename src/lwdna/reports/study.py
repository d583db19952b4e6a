"""What the cells of a comparison say together: ``results.json`` and ``timings.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwdna.arms import BASELINE
from lwdna.engine.task import describe
from lwdna.reports.cells import Cell, Cells
from lwdna.reports.statistics import HALVES, Difference, Half, compare, examples_of, spread
from lwdna.reports.verdict import not_finite, study_verdict

METHOD = "lwdna"
"""The arm that is also compared with every other arm, not with the baseline alone."""


@dataclass(frozen=True)
class Part:
    """What a part of the validation set says."""

    values: dict[str, list[float]]
    """The primary metric by arm, one per seed."""
    differences: dict[tuple[str, str], Pair]
    """By (arm, what it is compared with)."""
    verdicts: list[str]
    """One sentence per difference."""


@dataclass(frozen=True)
class Pair:
    """Two arms compared."""

    seeds: list[int]
    """Those that both have."""
    found: Difference


def judge(cells: Cells) -> dict[Half, Part]:
    """Compare each arm with the baseline, and the method with each arm, on every part.

    One value per training, as of a metric that is no mean over the examples, has no halves.
    """
    count = len(cells.any.outcomes)
    halves = HALVES if count > 1 else ("whole",)
    return {half: _part(cells, examples_of(half, count)) for half in halves}


def _part(cells: Cells, chosen: NDArray[np.int64]) -> Part:
    values = {
        arm: cells.outcomes(arm, list(by_seed))[:, chosen].mean(axis=1).tolist()
        for arm, by_seed in cells.arms.items()
    }
    names = [(arm, BASELINE) for arm in cells.arms if arm != BASELINE]
    names += [(METHOD, arm) for arm in cells.arms if arm not in (METHOD, BASELINE)]
    pairs = {}
    for arm, other in names:
        seeds = cells.seeds(arm, other)
        if seeds:
            first, second = (cells.outcomes(name, seeds)[:, chosen] for name in (other, arm))
            pairs[arm, other] = Pair(seeds, compare(first, second))
    verdicts = [
        study_verdict(
            arm,
            other,
            pair.found,
            cells.metric,
            (cells.cost(other), cells.cost(arm)),
            kept=other == BASELINE and cells.kept_baseline(arm),
        )
        for (arm, other), pair in pairs.items()
    ]
    return Part(values, pairs, verdicts)


def results(cells: Cells, parts: Mapping[Half, Part]) -> dict[str, Any]:
    """Return everything that does not depend on when and where the cells were made."""
    said: dict[str, Any] = _rounded(
        {
            **describe(cells.metric),
            "unit": cells.metric.unit,
            "examples": cells.any.examples,
            "budget": cells.recipe.shrink.get("budget") or {},
            "notes": notes(cells),
            "arms": {name: _arm(cells, name, by_seed) for name, by_seed in cells.arms.items()},
            "halves": {half: _half(part) for half, part in parts.items()},
        }
    )
    return said


def notes(cells: Cells) -> list[str]:
    """Return what to know of the cells, outputs that are not finite among it, a sentence each."""
    said = [*_same(cells), *_lengths(cells)]
    for arms, what in ((cells.arms, ""), (cells.left_out, " is left out")):
        for name, by_seed in arms.items():
            for seed, cell in by_seed.items():
                fault = not_finite(cell.results) or (what and "Some outcomes are not finite.")
                if fault:
                    said.append(f"{name} seed {seed}{what}: {fault}")
    return said


def _same(cells: Cells) -> list[str]:
    """Return a sentence for every arm with networks that are the baseline itself."""
    said = []
    for name, by_seed in cells.arms.items():
        seeds = [seed for seed, cell in by_seed.items() if cell.same_as_baseline]
        if seeds:
            where = "" if len(seeds) == len(by_seed) else f" with seed {', '.join(map(str, seeds))}"
            said.append(
                f"{name} has the widths of the baseline{where}: it was not trained a second time, "
                "and its figures are the baseline’s."
            )
    return said


def _lengths(cells: Cells) -> list[str]:
    """Return how long arms were trained, where trainings were free to stop early."""
    best = {
        name: [(cell.results["epochs"], cell.results["best_epoch"]) for cell in by_seed.values()]
        for name, by_seed in cells.arms.items()
        if all("best_epoch" in cell.results for cell in by_seed.values())
    }
    if not best:
        return []
    lengths = ", ".join(
        f"{name} {fmean(done for done, _ in epochs):.3g} epochs, of which "
        f"{fmean(kept for _, kept in epochs):.3g} count"
        for name, epochs in best.items()
    )
    return [
        f"Trainings stopped early (train.patience), so that arms were trained differently long "
        f"({lengths}; means over seeds), and each figure is the best of several evaluations."
    ]


def _half(part: Part) -> dict[str, Any]:
    return {
        "verdicts": part.verdicts,
        "arms": {
            arm: {**asdict(spread(np.array(values))), "values": values}
            for arm, values in part.values.items()
        },
        "differences": [
            {"arm": arm, "to": other, "seeds": pair.seeds, **_record(pair.found)}
            for (arm, other), pair in part.differences.items()
        ],
    }


def timings(cells: Cells) -> dict[str, Any]:
    """Return what was measured in time, by arm and seed, with the machines it was measured on."""
    keys = ("latency_ms", "train_seconds", "machine", "versions")
    return {
        name: {
            str(seed): {
                "search_seconds": cell.search_seconds,
                "search_shared": cell.search_shared,
                **{key: cell.results.get(key) for key in keys},
            }
            for seed, cell in by_seed.items()
        }
        for name, by_seed in cells.arms.items()
    }


def _arm(cells: Cells, name: str, by_seed: dict[int, Cell]) -> dict[str, Any]:
    costs = [cell.architecture.cost for cell in by_seed.values()]
    searches = cells.searches(name)
    return {
        "changes": cells.recipe.compare.arms[name],
        "seeds": list(by_seed),
        "macs": [cost.macs for cost in costs],
        "params": [cost.params for cost in costs],
        "searches": len(searches),
        "search_trainings": searches[0].search_trainings if searches else 0.0,
        "kept_baseline": [seed for seed, cell in by_seed.items() if cell.kept_baseline],
        "same_as_baseline": [seed for seed, cell in by_seed.items() if cell.same_as_baseline],
    }


def _record(difference: Difference) -> dict[str, Any]:
    return {**asdict(difference), "interval": difference.interval, "sign": difference.sign}


def _rounded(value: Any) -> Any:
    """Round to what the machine's last bits cannot change."""
    if isinstance(value, float):
        return round(value, 6) + 0.0  # no negative zero
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
