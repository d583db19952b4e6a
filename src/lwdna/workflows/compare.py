"""``lwdna compare``: the same protocol for several arms and seeds, each pair a job of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from lwdna.arms import BASELINE, Arms, CompareSettings
from lwdna.engine.device import make_accelerator
from lwdna.errors import BudgetError, CheckpointError, FileError, TrainingError
from lwdna.files import write_text
from lwdna.recipe import Recipe, change_recipe, load_recipe
from lwdna.reports import cell_folder, write_comparison
from lwdna.workflows.files import RECIPE, RESULTS, check_same_recipe
from lwdna.workflows.setup import make_task
from lwdna.workflows.steps import inherited, search_once, train_once

_PATIENCE = 10.0
"""Seconds to wait for cells that others hold: long enough for what a killed process leaves."""


@dataclass(frozen=True)
class _Cell:
    """One arm, trained once."""

    arm: str
    seed: int
    recipe: Recipe
    folder: Path

    def __str__(self) -> str:
        return f"{self.arm} seed {self.seed}"

    @property
    def finished(self) -> bool:
        return (self.folder / "training" / RESULTS).is_file()


def run_comparison(
    recipe: Recipe,
    out: str | Path,
    *,
    shard: tuple[int, int] = (1, 1),
    progress: bool = False,
    trust_code: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train all arms with all seeds as ``recipe.compare`` says; write results and report.

    Cells that are finished are not repeated, one that was stopped goes on where it was. Any
    number of processes may work in one folder: a cell belongs to the one that holds its lock,
    which the operating system frees when a process dies. Arms and seeds may be added later.

    Args:
        recipe: the experiment.
        out: a new folder, or that of the same comparison. Gets ``recipe.yaml``,
            ``cells/<arm>/seed<k>/search`` and ``.../training``, and from all finished cells
            ``results.json`` (nothing in it depends on time), ``timings.json`` and ``report.html``.
        shard: ``(i, n)``: do the i-th of n parts of the cells, counted from 1.
        progress: show progress bars.
        trust_code: allow a baseline whose source imports Python code.
        say: told what is being done.

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
    own = _cells(recipe, out)[shard[0] - 1 :: shard[1]]
    if not (out / RECIPE).is_file():
        make_task(recipe)  # data that cannot be opened should not leave a folder behind
    _join(recipe, out)
    worker = _Worker(progress, trust_code, say)
    for number, cell in enumerate(own, 1):
        worker.work(cell, f"cell {number} of {len(own)}: {cell.arm}, seed {cell.seed}")
    left = worker.again(own)
    if left:
        names = ", ".join(map(str, left))
        say(f"other processes are at work on {names}; `lwdna report {out}` merges them later")
    processes = make_accelerator("no")
    report = out / "report.html"
    done = not worker.failed or any(cell.finished for cell in own)
    if processes.is_main_process and done:
        write_comparison(out)
    processes.wait_for_everyone()
    if worker.failed:
        rest = f"all others are in {report}; " if done else ""
        raise TrainingError(
            f"{len(worker.failed)} of {len(own)} cells failed: {'; '.join(worker.failed.values())} "
            f"({rest}the same command tries again)"
        )
    return report


def _cells(recipe: Recipe, out: Path) -> list[_Cell]:
    """Return all cells, seed by seed, so that a part of them compares what it can."""
    cells = []
    for seed in range(recipe.seed, recipe.seed + recipe.compare.seeds):
        for arm, changes in recipe.compare.arms.items():
            # the cell's recipe must not change when arms or seeds are added
            plain = recipe.model_copy(update={"compare": CompareSettings()})
            values = {f"shrink.{key}": value for key, value in (changes or {}).items()}
            own = change_recipe(plain, {**values, "seed": seed}, f"the arm {arm}")
            cells.append(_Cell(arm, seed, own, cell_folder(out, arm, seed)))
    return cells


@dataclass
class _Worker:
    """Goes through cells; what fails in one of them is kept for the end."""

    progress: bool
    trust_code: bool
    say: Callable[[str], None]
    failed: dict[Path, str] = field(default_factory=dict)
    """What went wrong, by the cell's folder."""

    def work(self, cell: _Cell, name: str) -> bool:
        """Do what is missing of a cell; return whether nothing is left to do."""
        if cell.folder in self.failed:
            return True
        with _claimed(cell) as ours:
            if ours:
                self.say(name)
                try:
                    self._finish(cell)
                except (BudgetError, TrainingError) as error:  # of this cell, not of the others
                    self.failed[cell.folder] = f"{cell}: {error}"
                    self.say(f"failed: {error}")
            return ours or cell.finished

    def _finish(self, cell: _Cell) -> None:
        found = weights = None
        if cell.arm != BASELINE:
            found = search_once(
                cell.recipe, cell.folder / "search", trust_code=self.trust_code, say=self.say
            )
            weights = inherited(cell.folder / "search")
        train_once(
            cell.recipe,
            cell.folder / "training",
            found,
            weights=weights,
            progress=self.progress,
            trust_code=self.trust_code,
            say=self.say,
        )

    def again(self, cells: Sequence[_Cell]) -> list[_Cell]:
        """Try for a while to get the cells that others held; return those that they still hold.

        Whoever held a cell may have died; the workers that read its images follow within seconds.
        """
        started = time.monotonic()
        while True:
            waited = time.monotonic() - started > _PATIENCE
            left = [cell for cell in cells if not self.work(cell, f"again: {cell}")]
            if _same(not left or waited):
                return left
            time.sleep(1)


@contextmanager
def _claimed(cell: _Cell) -> Iterator[bool]:
    """Yield whether a cell is to be worked on here: not finished, and held by nobody else.

    Processes that were launched together work together; the first of them decides.
    """
    lock = FileLock(cell.folder / "claim.lock", blocking=False)
    ours = False
    if make_accelerator("no").is_main_process and not cell.finished:
        cell.folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
            ours = not cell.finished
        except Timeout:
            pass
        except NotImplementedError as error:
            raise FileError(
                f"the file system of {cell.folder} knows no locks, by which processes tell "
                "their work apart; choose another folder (--out)"
            ) from error
    try:
        yield _same(ours)
    finally:
        lock.release()


def _same(decision: bool) -> bool:
    """Return the decision of the first of the processes that were launched together."""
    shared = [decision]
    broadcast_object_list(shared)
    return shared[0]


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
            and (not out.is_dir() or any(file.name != "recipe.lock" for file in out.iterdir()))
        ):
            raise CheckpointError(
                f"{out} is not an empty folder and holds no comparison; choose another (--out)"
            )
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / "recipe.lock"):
            if (out / RECIPE).is_file():
                recipe = _merged(recipe, out)
            write_text(out / RECIPE, recipe.to_yaml())
    processes.wait_for_everyone()


def _merged(recipe: Recipe, out: Path) -> Recipe:
    saved = load_recipe(out / RECIPE)
    check_same_recipe(out, recipe.model_copy(update={"compare": saved.compare}))
    if not (out / "cells").is_dir() and (out / RESULTS).exists():
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
