"""``lwdna quickstart``: the whole job, from a recipe to a report."""

from __future__ import annotations

from pathlib import Path

from lwdna.engine.device import make_accelerator
from lwdna.errors import CheckpointError
from lwdna.files import write_json, write_text
from lwdna.recipe import Recipe
from lwdna.reports import write_report
from lwdna.run_folder import (
    BASELINE,
    FOUND,
    RECIPE,
    REPORT,
    RESULTS,
    SEARCH,
    WEIGHTS,
    clear,
    is_free,
)
from lwdna.run_options import RunOptions
from lwdna.workflows.executors import check_executor
from lwdna.workflows.one_writer import one_writer
from lwdna.workflows.pretrained import check_start
from lwdna.workflows.resume import check_same_recipe
from lwdna.workflows.same_data import check_same_data, write_data
from lwdna.workflows.setup import make_task
from lwdna.workflows.steps import inherited, search_once, train_once


def run_job(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    options: RunOptions = RunOptions(),
) -> Path:
    """Search, train baseline and result with the same protocol, write the report.

    Args:
        recipe: the experiment.
        out: gets ``recipe.yaml``, ``search/``, ``baseline/``, ``lwdna/``, ``results.json`` and
            ``report.html``.
        resume: go on with the job in ``out``; finished parts are not repeated.
        options: progress bars, what is being done, trust, how many processes share the trials of
            the search, or which cluster makes them.

    Returns:
        The path of the report.

    Raises:
        CheckpointError: ``out`` is in use, or there is nothing to resume, or the job in it was
            started with another recipe.
        LockedError: another process writes ``out``.
        DataError: the job to resume was started with other data.
        ModelError: the trained weights that the recipe asks for cannot be had.
        RecipeError: there is no such cluster.
    """
    out = Path(out)
    check_executor(options)
    check_start(recipe)
    with one_writer(out, options):
        return _job(recipe, out, resume, options)


def _job(recipe: Recipe, out: Path, resume: bool, options: RunOptions) -> Path:
    _check_start(recipe, out, resume)
    task = make_task(recipe, options.say)
    data = check_same_data(task, out if resume else None, None, options)
    processes = make_accelerator("no")
    processes.wait_for_everyone()  # all have looked at the folder before it changes
    if processes.is_main_process and not resume:
        clear(out)
        write_data(out, data)
        write_text(out / RECIPE, recipe.to_yaml())
    found = search_once(recipe, out / SEARCH, options, part_of=out)
    results = {
        BASELINE: train_once(recipe, out / BASELINE, None, options, part_of=out),
        FOUND: train_once(
            recipe,
            out / FOUND,
            found,
            options,
            part_of=out,
            weights=inherited(out / SEARCH),
            teacher=out / BASELINE / WEIGHTS,
        ),
    }
    if processes.is_main_process:
        write_json(out / RESULTS, results)
        write_report(out)
    processes.wait_for_everyone()
    return out / REPORT


def _check_start(recipe: Recipe, out: Path, resume: bool) -> None:
    if resume and not (out / RECIPE).is_file():
        raise CheckpointError(
            f"nothing to resume in {out}: it holds no {RECIPE}; name the folder of an "
            "interrupted job or start without --resume"
        )
    if resume:
        check_same_recipe(out, recipe)
    elif not is_free(out):
        raise CheckpointError(
            f"{out} is not an empty folder; go on with its job (--resume) or choose another "
            "folder (--out)"
        )
