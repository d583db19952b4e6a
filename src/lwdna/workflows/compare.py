"""``lwdna compare``: the same protocol for several arms and seeds, each pair a job of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from lwdna.arms import Arms, CompareSettings
from lwdna.engine import Task
from lwdna.engine.device import make_accelerator
from lwdna.engine.together import by_first
from lwdna.errors import BudgetError, CheckpointError, LockedError, TrainingError
from lwdna.files import remove_unfinished, write_text
from lwdna.locks import locked
from lwdna.recipe import Recipe, load_recipe
from lwdna.reports import write_comparison
from lwdna.run_folder import (
    CELLS,
    LOCK,
    RECIPE,
    RECIPE_LOCK,
    REPORT,
    RESULTS,
    is_comparison,
    is_free,
)
from lwdna.run_options import LOCAL, RunOptions
from lwdna.workflows.board import Board, shown
from lwdna.workflows.cells import Cell, Job, cells_of, finish, jobs_for
from lwdna.workflows.executors import check_executor, opened
from lwdna.workflows.jobs import helpers
from lwdna.workflows.pretrained import check_start
from lwdna.workflows.queue import Attempt, Outcome, work_through
from lwdna.workflows.resume import check_same_recipe
from lwdna.workflows.same_data import check_data, fingerprint_of, write_data
from lwdna.workflows.setup import make_task


def run_comparison(
    recipe: Recipe,
    out: str | Path,
    *,
    shard: tuple[int, int] = (1, 1),
    trust_code: bool = False,
    options: RunOptions = RunOptions(),
) -> Path:
    """Train all arms with all seeds as ``recipe.compare`` says; write results and report.

    Finished cells are not repeated, one that was stopped goes on where it was. Any number of
    processes may work in one folder. Arms and seeds may be added later.

    Args:
        recipe: the experiment.
        out: a new folder, or that of the same comparison. Gets ``recipe.yaml``,
            ``cells/<arm>/seed<k>/search`` and ``.../training`` (or ``cells/<arm>/search``, which
            all seeds share), and from all finished cells ``results.json`` (nothing in it depends
            on time), ``timings.json`` and ``report.html``. Until then ``progress.html`` says how
            far it is.
        shard: ``(i, n)``: do the i-th of n parts of the cells, counted from 1.
        trust_code: allow a network whose source imports Python code; so may ``options``.
        options: progress bars, what is being done, trust, how many processes of this machine share
            the cells (and its threads), or which cluster does them, each on one thread of a CPU.

    Returns:
        The path of the report.

    Raises:
        RecipeError: an arm asks for what the search does not know, or there is no such cluster.
        ModelError: the trained weights that the recipe asks for cannot be had.
        DataError: the data cannot be opened, or are not those of the comparison in ``out``.
        CheckpointError: ``out`` holds something else.
        TrainingError: cells failed, as by a loss that is not finite or a budget that an arm cannot
            meet; all others are done, and the report is written.
    """
    out, options = Path(out), options.trusting(trust_code)
    own = _share(recipe, out, shard)
    check_executor(options)
    check_start(recipe)
    # data that cannot be opened should not leave a folder behind
    task = make_task(recipe, options.say)
    _join(recipe, task, out, options)
    del task
    jobs = jobs_for(own)
    several = options.jobs > 1 or options.executor != LOCAL
    with shown(jobs, out, table=options.progress and several) as board:
        if options.executor == LOCAL:
            left = _local(recipe, jobs, out, shard, options, board)
        else:
            left = _cluster(jobs, out, options, board)
    if left.held:
        held = ", ".join(map(str, left.held))
        options.say(
            f"other processes are at work on {held}; `lwdna report {out}` merges them later"
        )
    _report(out, own, left.faults)
    return out / REPORT


def _local(
    recipe: Recipe,
    jobs: Sequence[Job],
    out: Path,
    shard: tuple[int, int],
    options: RunOptions,
    board: Board,
) -> Outcome[Job]:
    """Finish jobs by processes of this machine, of which this one says what it does."""
    threads = max(1, torch.get_num_threads() // options.jobs)
    given = recipe, out, shard, options.of_helper()
    # several processes have one table instead of bars
    own = replace(options, jobs=1, progress=options.progress and options.jobs == 1)
    work = partial(_finished, out, own)
    with _threads(threads), helpers(options.jobs, _help, *given, threads=threads) as others:
        left = work_through(jobs, work, note=partial(_noted, board, options))
        others.join()
        if left.held:  # what they could not finish
            rest = work_through(left.held, work, note=partial(_noted, board, options))
            left = Outcome(rest.held, left.faults + rest.faults)
    return left


def _cluster(jobs: Sequence[Job], out: Path, options: RunOptions, board: Board) -> Outcome[Job]:
    """Finish jobs by the workers of a cluster."""

    def note(job: Job, made: Attempt) -> None:
        _noted(board, options, job, made)
        if made.finished:
            options.say(f"finished: {job}")

    with opened(options, out) as executor:
        assert executor is not None
        within = options.of_task("ray" if executor.nests else LOCAL)
        return work_through(jobs, partial(_finished, out, within), executor, note)


def _share(recipe: Recipe, out: Path, shard: tuple[int, int]) -> list[Cell]:
    return cells_of(recipe, out)[shard[0] - 1 :: shard[1]]


def _finished(out: Path, options: RunOptions, job: Job, name: str) -> str | None:
    """Finish a job; return why that cannot be, which is no fault of the others."""
    options.say(name)
    try:
        finish(job, out, options)
    except (BudgetError, CheckpointError, LockedError, TrainingError) as error:
        return str(error)
    return None


def _noted(board: Board, options: RunOptions, job: Job, made: Attempt) -> None:
    if made.failed:
        board.failed(job)
        options.say(f"failed: {made.fault}")


def _help(recipe: Recipe, out: Path, shard: tuple[int, int], options: RunOptions) -> None:
    """Finish cells in a process beside the one that reports; it tries again what fails here."""
    work_through(jobs_for(_share(recipe, out, shard)), partial(_finished, out, options))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute on so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _report(out: Path, own: Sequence[Cell], faults: Sequence[tuple[Job, str]]) -> None:
    """Write the report, if any cell is finished, and say which failed."""
    failed = []
    for job, fault in faults:
        needing = [c for c in own if job.folder in (c.folder, c.search and c.search.folder)]
        failed += [f"{cell}: {fault}" for cell in needing]
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


def _join(recipe: Recipe, task: Task, out: Path, options: RunOptions) -> None:
    """Write down what is compared in ``out``, together with what is compared there already.

    Raises:
        CheckpointError: ``out`` holds something else, or other arms of the same names.
        LockedError: another run is beginning there.
        DataError: other data are compared there.
    """
    by_first(lambda: _begin(recipe, task, out, options))


def _begin(recipe: Recipe, task: Task, out: Path, options: RunOptions) -> None:
    data = fingerprint_of(task)
    if not out.is_dir() and out.exists():
        raise _in_use(out)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / RECIPE_LOCK, wait=True):
        remove_unfinished(out)
        if (out / RECIPE).is_file():
            recipe = _merged(recipe, out)
            check_data(out, data, options)
            write_text(out / RECIPE, recipe.to_yaml())
        elif is_free(out):
            with locked(out / LOCK):  # nor does any other run begin there
                write_data(out, data)
                write_text(out / RECIPE, recipe.to_yaml())
        else:
            raise _in_use(out)
        (out / CELLS).mkdir(exist_ok=True)


def _in_use(out: Path) -> CheckpointError:
    return CheckpointError(
        f"{out} is not an empty folder and holds no comparison; choose another (--out)"
    )


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
    if saved.compare.search != recipe.compare.search:
        raise CheckpointError(
            f"{out} was begun with compare.search={saved.compare.search}, not "
            f"{recipe.compare.search}; go on with that, or compare in another folder (--out)"
        )
    seeds = max(saved.compare.seeds, recipe.compare.seeds)
    both = CompareSettings(seeds=seeds, arms=arms, search=recipe.compare.search)
    return recipe.model_copy(update={"compare": both})
