"""Read the finished cells of a comparison: one arm, trained with one seed, each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat

from lwdna.arms import BASELINE, CompareSettings
from lwdna.arrays import read_arrays
from lwdna.engine.task import Metric, described
from lwdna.errors import FileError
from lwdna.reports.records import (
    ArchitectureRecord,
    LawRecord,
    ModelRecord,
    Record,
    RecordedCost,
    Results,
)
from lwdna.reports.run_files import parse_record, read_record
from lwdna.run_folder import (
    ARCHITECTURE,
    OUTCOMES,
    RECIPE,
    RESULTS,
    SEARCH,
    SEARCH_RECORD,
    cell_folder,
    training_of_cell,
)

_ROUNDING = 1e-3
"""By how much of an outcome's usual size a metric may differ from the outcomes' mean."""


class StudyRecipe(Record):
    """The part of a comparison's ``recipe.yaml`` that reports need: nothing of its task, whose
    code may not be at hand."""

    model: ModelRecord
    shrink: dict[str, Any] = Field(default_factory=dict)
    compare: CompareSettings = CompareSettings()
    seed: int = 0


class TrainedArchitecture(ArchitectureRecord):
    """The architecture of a network that was trained: what it costs is known."""

    cost: RecordedCost


class SearchPart(Record):
    """The part of ``search.json`` that a comparison needs."""

    seconds: FiniteFloat
    law: LawRecord | None = None


@dataclass(frozen=True)
class Cell:
    """What one training left."""

    results: dict[str, Any]
    """As in ``results.json``."""
    metric: Metric
    """The primary metric."""
    outcomes: NDArray[np.float64]
    """What a comparison pairs: the primary metric of every validation example, shape (N,). Of a
    metric that is no mean over the examples, its value, shape (1,)."""
    examples: int
    """Number of validation examples."""
    architecture: TrainedArchitecture
    search_seconds: float
    """0 for the baseline."""
    search_shared: bool = False
    """Whether the search is that of all seeds of the arm."""
    kept_baseline: bool = False
    """Whether the search kept the baseline, because no gain was sure."""
    same_as_baseline: bool = False
    """Whether its widths are the baseline's, whose training is its own."""

    @property
    def search_trainings(self) -> float | None:
        """What the search's trials cost, in trainings of full length; ``None`` if unknown.

        Trials of a proxy count by its MACs and by the images that its whole training sees.
        """
        trials = self.architecture.found.get("trials")
        if not trials:
            return 0.0
        try:
            cost = self.architecture.found.get("law", {}).get("proxy_cost", 1)
            return float(f"{trials['count'] * trials['length'] * cost:.4g}")
        except (LookupError, TypeError, ValueError, AttributeError):  # of an earlier version
            return None

    @property
    def comparable(self) -> bool:
        """Whether the primary metric is a number, that of every example included."""
        value = self.results.get(self.metric.name, math.nan)
        return math.isfinite(value) and bool(np.isfinite(self.outcomes).all())


@dataclass(frozen=True)
class Cells:
    """All finished cells of a comparison, at least one."""

    recipe: StudyRecipe
    recipe_text: str
    """The recipe as it was written down."""
    arms: dict[str, dict[int, Cell]]
    """By name and seed, in the order of the recipe; arms without a finished cell are left out."""
    left_out: dict[str, dict[int, Cell]]
    """Finished cells that cannot be compared, because their metric is not a finite number."""

    @property
    def any(self) -> Cell:
        """One of the cells, for what all share."""
        return next(iter(next(iter(self.arms.values())).values()))

    @property
    def metric(self) -> Metric:
        """The primary metric."""
        return self.any.metric

    def seeds(self, *names: str) -> list[int]:
        """Return the seeds with which all these arms are finished."""
        common = set.intersection(*(set(self.arms.get(name, {})) for name in names))
        return sorted(common)

    def cost(self, name: str) -> dict[str, float]:
        """Return an arm's MACs and parameters, means over its seeds."""
        costs = [cell.architecture.cost for cell in self.arms[name].values()]
        return {what: fmean(getattr(cost, what) for cost in costs) for what in ("macs", "params")}

    def searches(self, name: str) -> list[Cell]:
        """Return one cell for each search of an arm."""
        cells = list(self.arms[name].values()) if name != BASELINE else []
        return [
            *[cell for cell in cells if not cell.search_shared],
            *[cell for cell in cells if cell.search_shared][:1],
        ]

    def kept_baseline(self, name: str) -> bool:
        """Return whether every search of an arm kept the baseline."""
        return bool(self.arms[name]) and all(c.kept_baseline for c in self.arms[name].values())

    def outcomes(self, name: str, seeds: list[int]) -> NDArray[np.float64]:
        """Return an arm's outcomes, shape (S, N)."""
        return np.stack([self.arms[name][seed].outcomes for seed in seeds])


def read_cells(folder: Path) -> Cells:
    """Read all finished cells.

    Raises:
        FileError: no cell is finished, none can be compared, or a file is damaged.
    """
    recipe, text = _read_recipe(folder / RECIPE)
    arms: dict[str, dict[int, Cell]] = {}
    left_out: dict[str, dict[int, Cell]] = {}
    for name in recipe.compare.arms:
        for seed in range(recipe.seed, recipe.seed + recipe.compare.seeds):
            training = training_of_cell(folder, name, seed, BASELINE)
            if (training / RESULTS).is_file():
                cell = _read(cell_folder(folder, name, seed), training)
                (arms if cell.comparable else left_out).setdefault(name, {})[seed] = cell
    if left_out and not arms:
        metric = next(iter(next(iter(left_out.values())).values())).metric
        raise FileError(
            f"no cell of the comparison in {folder} has a {metric.title} that is a finite number; "
            "look at the results.json of the cells, and train with a smaller train.lr"
        )
    if not arms:
        raise FileError(f"no cell of the comparison in {folder} is finished yet")
    cells = Cells(recipe, text, arms, left_out)
    for name, by_seed in arms.items():
        for seed, cell in by_seed.items():
            if cell.examples != cells.any.examples:
                raise FileError(
                    f"{cell_folder(folder, name, seed)} was judged on {cell.examples} "
                    f"examples, others on {cells.any.examples}; delete it and repeat it"
                )
            if cell.architecture.widths.keys() != cells.any.architecture.widths.keys():
                raise FileError(
                    f"{cell_folder(folder, name, seed)} is of a network with other groups than "
                    "others are; delete it and repeat it"
                )
            if _pairing(cell.metric) != _pairing(cells.metric):
                raise FileError(
                    f"{cell_folder(folder, name, seed)} was judged in another way "
                    f"({cell.metric}) than others ({cells.metric}); delete it and repeat it"
                )
    return cells


def _read_recipe(path: Path) -> tuple[StudyRecipe, str]:
    try:
        text = path.read_text(encoding="utf-8")
        return parse_record(StudyRecipe, yaml.safe_load(text), path), text
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FileError(
            f"cannot read {path}: {' '.join(str(error).split())}; restore it from a cell's recipe"
        ) from error


def _read(place: Path, training: Path) -> Cell:
    own, common = (folder / SEARCH / SEARCH_RECORD for folder in (place, place.parent))
    record_of_search = next((path for path in (own, common) if path.is_file()), None)
    search = record_of_search and read_record(SearchPart, record_of_search)
    same = training.parent != place
    described_by = record_of_search.parent if same and record_of_search else training
    record = read_record(Results, training / RESULTS)
    results = record.figures
    try:
        metric = described(results)[0]
        value = dict(record)[metric.name]
        value = math.nan if value is None else float(value)
        outcomes = read_arrays(training / OUTCOMES)[metric.name].astype(np.float64)
    except (FileError, LookupError, TypeError, ValueError) as error:
        raise FileError(
            f"cannot read the results in {training} ({error}); delete the folder and repeat it"
        ) from error
    if metric.mean_of_examples and math.isfinite(value):
        _check_mean(metric, value, outcomes, training)
    return Cell(
        results=results,
        metric=metric,
        outcomes=outcomes if metric.mean_of_examples else np.array([value]),
        examples=len(outcomes),
        architecture=read_record(TrainedArchitecture, described_by / ARCHITECTURE),
        search_seconds=search.seconds if search is not None else 0.0,
        search_shared=common.is_file() and not own.is_file(),
        kept_baseline=bool(search and search.law and search.law.kept_baseline),
        same_as_baseline=same,
    )


def _pairing(metric: Metric) -> tuple[str, bool]:
    """Return what cells must share to be compared."""
    return metric.name, metric.mean_of_examples


def _check_mean(
    metric: Metric, value: float, outcomes: NDArray[np.float64], training: Path
) -> None:
    """Make sure that a metric is what comparisons take it for."""
    mean = float(outcomes.mean())
    if abs(mean - value) > _ROUNDING * float(np.abs(outcomes).mean()):
        raise FileError(
            f"in {training}, {metric.name} is {value:.6g} and the mean of its outcomes "
            f"{mean:.6g}; declare a metric that is no mean over the examples with "
            "mean_of_examples=False in its task, and in the results.json of finished trainings"
        )
