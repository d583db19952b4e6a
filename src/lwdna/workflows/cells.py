"""The jobs of a comparison: its cells, one arm trained once with one seed, and searches they share.

Each has a folder of its own. A search that all seeds of an arm share is a job, too, so that it is
done once, whatever the number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lwdna.arms import BASELINE, CompareSettings
from lwdna.engine.together import by_first
from lwdna.files import read_json, write_json
from lwdna.recipe import Recipe, change_recipe
from lwdna.run_folder import (
    ARCHITECTURE,
    RESULTS,
    SAME,
    SEARCH,
    SEARCH_RECORD,
    TRAINING,
    cell_folder,
    shared_search,
)
from lwdna.run_options import RunOptions
from lwdna.workflows.steps import inherited, search_once, train_once


@dataclass(frozen=True)
class ArmSearch:
    """A search, for one cell or for all cells of an arm."""

    arm: str
    recipe: Recipe
    folder: Path
    kind = "search"

    def __str__(self) -> str:
        return f"search of {self.arm}"

    @property
    def finished(self) -> bool:
        """Whether the network found is there."""
        return (self.folder / ARCHITECTURE).is_file()

    @property
    def after(self) -> ArmSearch | None:
        """Nothing has to be finished before."""
        return None


@dataclass(frozen=True)
class Cell:
    """What is to be done for one arm and seed."""

    arm: str
    seed: int
    recipe: Recipe
    folder: Path
    search: ArmSearch | None
    """None for the baseline."""
    after: ArmSearch | None
    """The search if it is a job of its own, which has to be finished before the cell is begun."""
    kind = "cell"

    def __str__(self) -> str:
        return f"{self.arm} seed {self.seed}"

    @property
    def finished(self) -> bool:
        """Whether its results are there, or those of the baseline are its own."""
        return any((self.folder / file).is_file() for file in (f"{TRAINING}/{RESULTS}", SAME))


Job = ArmSearch | Cell


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
            common = change_recipe(plain, values, f"the arm {arm}")
            own, folder = common.model_copy(update={"seed": seed}), cell_folder(out, arm, seed)
            search = after = None
            if arm != BASELINE and _once(recipe.compare, common):
                search = after = ArmSearch(arm, common, shared_search(out, arm))
            elif arm != BASELINE:
                search = ArmSearch(arm, own, folder / SEARCH)
            cells.append(Cell(arm, seed, own, folder, search, after))
    return cells


def jobs_for(cells: Sequence[Cell]) -> list[Job]:
    """Return cells behind the searches that several of them may share."""
    searches = {cell.after.folder: cell.after for cell in cells if cell.after is not None}
    return [*searches.values(), *cells]


def finish(job: Job, out: Path, options: RunOptions) -> None:
    """Do what is missing of a search, or of a cell: its own search, and its training.

    Args:
        job: one of the comparison in ``out``.
        out: its data are those of every cell.
        options: progress bars, what is being done, trust.

    Raises:
        BudgetError: no widths meet the arm's budget.
        DataError: the data changed since the comparison was begun.
        TrainingError: training cannot go on.
    """
    search = job if isinstance(job, ArmSearch) else job.search
    found = weights = None
    if search is not None:
        found = search_once(search.recipe, search.folder, options, part_of=out)
        weights = inherited(search.folder)
    if isinstance(job, Cell):
        place = job.folder / TRAINING
        if search is not None and not place.exists() and _is_baseline(job, search.folder, weights):
            options.say("its widths are the baseline's, whose training is its own")
            by_first(lambda: write_json(job.folder / SAME, {"as": BASELINE, "seed": job.seed}))
            return
        train_once(job.recipe, place, found, options, part_of=out, weights=weights)


def _is_baseline(cell: Cell, search: Path, weights: Path | None) -> bool:
    """Whether a cell would train the very network that the baseline's cell of its seed trains."""
    distill = cell.recipe.distill
    if weights is not None or (distill is not None and distill.teacher == BASELINE):
        return False
    groups = read_json(search / SEARCH_RECORD)["groups"]
    return all(group["found"] == group["baseline"] for group in groups)


def _once(compare: CompareSettings, recipe: Recipe) -> bool:
    """Whether all seeds of an arm share a search: by default where it costs many trainings."""
    if compare.search is None:
        return recipe.shrink.trials is not None
    return compare.search == "once"
