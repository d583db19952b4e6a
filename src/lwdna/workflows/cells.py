"""The cells of a comparison: one arm, trained once with one seed, in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lwdna.arms import BASELINE, CompareSettings
from lwdna.recipe import Recipe, change_recipe
from lwdna.run_folder import RESULTS, SEARCH, TRAINING, cell_folder
from lwdna.run_options import RunOptions
from lwdna.workflows.steps import inherited, search_once, train_once


@dataclass(frozen=True)
class Cell:
    """What is to be done for one arm and seed."""

    arm: str
    seed: int
    recipe: Recipe
    folder: Path

    def __str__(self) -> str:
        return f"{self.arm} seed {self.seed}"

    @property
    def finished(self) -> bool:
        """Whether its results are there."""
        return (self.folder / TRAINING / RESULTS).is_file()


def cells_of(recipe: Recipe, out: Path) -> list[Cell]:
    """Return all cells of a comparison in ``out``, seed by seed: a part of them compares too.

    Raises:
        RecipeError: an arm asks for what the search does not know.
    """
    cells = []
    for seed in range(recipe.seed, recipe.seed + recipe.compare.seeds):
        for arm, changes in recipe.compare.arms.items():
            # the cell's recipe must not change when arms or seeds are added
            plain = recipe.model_copy(update={"compare": CompareSettings()})
            values = {f"shrink.{key}": value for key, value in (changes or {}).items()}
            own = change_recipe(plain, {**values, "seed": seed}, f"the arm {arm}")
            cells.append(Cell(arm, seed, own, cell_folder(out, arm, seed)))
    return cells


def finish(cell: Cell, out: Path, options: RunOptions) -> None:
    """Do what is missing of a cell: its search, which a baseline has not, and its training.

    Args:
        cell: a cell of the comparison in ``out``.
        out: its data are those of every cell.
        options: progress bars, what is being done, trust.

    Raises:
        BudgetError: no widths meet the arm's budget.
        DataError: the data changed since the comparison was begun.
        TrainingError: training cannot go on.
    """
    found = weights = None
    if cell.arm != BASELINE:
        found = search_once(cell.recipe, cell.folder / SEARCH, options, part_of=out)
        weights = inherited(cell.folder / SEARCH)
    train_once(cell.recipe, cell.folder / TRAINING, found, options, part_of=out, weights=weights)
