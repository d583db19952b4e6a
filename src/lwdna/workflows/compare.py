"""``lwdna compare``: the same protocol for several arms and seeds, each pair a job of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from lwdna.arms import Arms, CompareSettings
from lwdna.engine.device import make_accelerator
from lwdna.errors import BudgetError, CheckpointError, TrainingError
from lwdna.files import write_text
from lwdna.recipe import Recipe, load_recipe
from lwdna.reports import write_comparison
from lwdna.run_folder import RECIPE, RECIPE_LOCK, REPORT, RESULTS, is_comparison
from lwdna.run_options import RunOptions
from lwdna.workflows.cells import Cell, cells_of, finish
from lwdna.workflows.queue import work_through
from lwdna.workflows.resume import check_same_recipe
from lwdna.workflows.setup import make_task


def run_comparison(
    recipe: Recipe,
    out: str | Path,
    *,
    shard: tuple[int, int] = (1, 1),
    options: RunOptions = RunOptions(),
) -> Path:
    """Train all arms with all seeds as ``recipe.compare`` says; write results and report.

    Finished cells are not repeated, one that was stopped goes on where it was. Any number of
    processes may work in one folder. Arms and seeds may be added later.

    Args:
        recipe: the experiment.
        out: a new folder, or that of the same comparison. Gets ``recipe.yaml``,
            ``cells/<arm>/seed<k>/search`` and ``.../training``, and from all finished cells
            ``results.json`` (nothing in it depends on time), ``timings.json`` and ``report.html``.
        shard: ``(i, n)``: do the i-th of n parts of the cells, counted from 1.
        options: progress bars, what is being done, trust.

    Returns:
        The path of the report.

    Raises:
        RecipeError: an arm asks for what the search does not know.
        DataError: the data cannot be opened.
        CheckpointError: ``out`` holds something else.
        TrainingError: cells failed, as by a loss that is not finite or a budget that an arm cannot
            meet; all others are done, and the report is written.
    """
    out = Path(out)
    own = cells_of(recipe, out)[shard[0] - 1 :: shard[1]]
    if not (out / RECIPE).is_file():
        make_task(recipe)  # data that cannot be opened should not leave a folder behind
    _join(recipe, out)
    failed: list[str] = []

    def work(cell: Cell, name: str) -> None:
        options.say(name)
        try:
            finish(cell, options)
        except (BudgetError, TrainingError) as error:  # of this cell, not of the others
            failed.append(f"{cell}: {error}")
            options.say(f"failed: {error}")

    left = work_through(own, work)
    if left:
        held = ", ".join(map(str, left))
        options.say(
            f"other processes are at work on {held}; `lwdna report {out}` merges them later"
        )
    _report(out, own, failed)
    return out / REPORT


def _report(out: Path, own: Sequence[Cell], failed: Sequence[str]) -> None:
    """Write the report, if any cell is finished, and say which failed."""
    processes = make_accelerator("no")
    done = not failed or any(cell.finished for cell in own)
    if processes.is_main_process and done:
        write_comparison(out)
    processes.wait_for_everyone()
    if failed:
        rest = f"all others are in {out / REPORT}; " if done else ""
        raise TrainingError(
            f"{len(failed)} of {len(own)} cells failed: {'; '.join(failed)} "
            f"({rest}the same command tries again)"
        )


def _join(recipe: Recipe, out: Path) -> None:
    """Write down what is compared in ``out``, together with what is compared there already.

    Raises:
        CheckpointError: ``out`` holds something else, or other arms of the same names.
    """
    processes = make_accelerator("no")
    if processes.is_main_process:
        if (
            not (out / RECIPE).is_file()
            and out.exists()
            and (not out.is_dir() or any(file.name != RECIPE_LOCK for file in out.iterdir()))
        ):
            raise CheckpointError(
                f"{out} is not an empty folder and holds no comparison; choose another (--out)"
            )
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / RECIPE_LOCK):
            if (out / RECIPE).is_file():
                recipe = _merged(recipe, out)
            write_text(out / RECIPE, recipe.to_yaml())
    processes.wait_for_everyone()


def _merged(recipe: Recipe, out: Path) -> Recipe:
    saved = load_recipe(out / RECIPE)
    check_same_recipe(out, recipe.model_copy(update={"compare": saved.compare}))
    if not is_comparison(out) and (out / RESULTS).exists():
        raise CheckpointError(f"{out} holds another job; choose another folder (--out)")
    arms: Arms = {**saved.compare.arms, **recipe.compare.arms}
    for name, changes in saved.compare.arms.items():
        if arms[name] != changes:
            raise CheckpointError(
                f"{out} compares an arm {name} with other settings ({changes}); give the new "
                "one another name"
            )
    seeds = max(saved.compare.seeds, recipe.compare.seeds)
    return recipe.model_copy(update={"compare": CompareSettings(seeds=seeds, arms=arms)})
