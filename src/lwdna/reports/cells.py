"""Read the finished cells of a comparison: one arm, trained with one seed, each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from lwdna.architecture import Architecture
from lwdna.errors import FileError
from lwdna.files import read_json
from lwdna.recipe import Recipe, load_recipe
from lwdna.run_folder import (
    ARCHITECTURE,
    OUTCOMES,
    RECIPE,
    RESULTS,
    SEARCH,
    SEARCH_RECORD,
    TRAINING,
    cell_folder,
)


@dataclass(frozen=True)
class Cell:
    """What one training left."""

    results: dict[str, Any]
    """As in ``results.json``."""
    outcomes: NDArray[np.float64]
    """The primary metric of every validation example, shape (N,)."""
    architecture: Architecture
    search_seconds: float
    """0 for the baseline."""


@dataclass(frozen=True)
class Cells:
    """All finished cells of a comparison, at least one."""

    recipe: Recipe
    arms: dict[str, dict[int, Cell]]
    """By name and seed, in the order of the recipe; arms without a finished cell are left out."""

    @property
    def any(self) -> Cell:
        """One of the cells, for what all share."""
        return next(iter(next(iter(self.arms.values())).values()))

    @property
    def metric(self) -> str:
        """Name of the primary metric; higher is better."""
        return str(self.any.results["metric"])

    @property
    def unit(self) -> str:
        """What the primary metric is counted in."""
        return str(self.any.results["unit"])

    def seeds(self, *names: str) -> list[int]:
        """Return the seeds with which all these arms are finished."""
        common = set.intersection(*(set(self.arms.get(name, {})) for name in names))
        return sorted(common)

    def cost(self, name: str) -> dict[str, float]:
        """Return an arm's MACs and parameters, means over its seeds."""
        costs = [cell.architecture.cost for cell in self.arms[name].values()]
        return {what: fmean(getattr(cost, what) for cost in costs) for what in ("macs", "params")}

    def outcomes(self, name: str, seeds: list[int]) -> NDArray[np.float64]:
        """Return an arm's outcomes, shape (S, N)."""
        return np.stack([self.arms[name][seed].outcomes for seed in seeds])


def read_cells(folder: Path) -> Cells:
    """Read all finished cells.

    Raises:
        FileError: no cell is finished, or a file is damaged.
        RecipeError: the folder's recipe is damaged.
    """
    recipe = load_recipe(folder / RECIPE)
    arms: dict[str, dict[int, Cell]] = {}
    for name in recipe.compare.arms:
        for seed in range(recipe.seed, recipe.seed + recipe.compare.seeds):
            place = cell_folder(folder, name, seed)
            if (place / TRAINING / RESULTS).is_file():
                arms.setdefault(name, {})[seed] = _read(place)
    if not arms:
        raise FileError(f"no cell of the comparison in {folder} is finished yet")
    cells = Cells(recipe, arms)
    for name, by_seed in arms.items():
        for seed, cell in by_seed.items():
            if len(cell.outcomes) != len(cells.any.outcomes):
                raise FileError(
                    f"{cell_folder(folder, name, seed)} was judged on {len(cell.outcomes)} "
                    f"examples, others on {len(cells.any.outcomes)}; delete it and repeat it"
                )
    return cells


def _read(place: Path) -> Cell:
    training, search = place / TRAINING, place / SEARCH / SEARCH_RECORD
    results = read_json(training / RESULTS)
    try:
        outcomes = load_file(training / OUTCOMES)[results["metric"]]
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise FileError(
            f"cannot read the results in {training} ({error}); delete the folder and repeat it"
        ) from error
    return Cell(
        results=results,
        outcomes=outcomes.astype(np.float64),
        architecture=Architecture.load(training / ARCHITECTURE),
        search_seconds=float(read_json(search)["seconds"]) if search.is_file() else 0.0,
    )
