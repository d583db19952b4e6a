"""Steps of a job that are done once: what is finished is read, what was stopped goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lwdna.architecture import Architecture
from lwdna.engine.device import make_accelerator
from lwdna.files import read_json
from lwdna.recipe import Recipe
from lwdna.run_folder import ARCHITECTURE, RECIPE, RESULTS, WEIGHTS, last_checkpoint
from lwdna.run_options import RunOptions
from lwdna.workflows.search import run_search
from lwdna.workflows.training import run_training


def search_once(
    recipe: Recipe, folder: Path, options: RunOptions, *, part_of: Path
) -> Architecture:
    """Return the network found by the search in ``folder``, which is done if it is missing.

    Args:
        recipe: the experiment.
        folder: of the search.
        options: what is being done, trust.
        part_of: the folder of the job or comparison, whose data it must have.
    """
    file = folder / ARCHITECTURE
    if not _exists(file):
        options.say("searching for the width of every layer")
        started = _exists(folder / RECIPE)
        run_search(recipe, folder, resume=started, part_of=part_of, options=options)
        make_accelerator("no").wait_for_everyone()
    return Architecture.load(file)


def inherited(folder: Path) -> Path | None:
    """Return the weights that the network found by the search in ``folder`` starts from, if any."""
    return folder / WEIGHTS if _exists(folder / WEIGHTS) else None


def train_once(
    recipe: Recipe,
    folder: Path,
    architecture: Architecture | None,
    options: RunOptions,
    *,
    part_of: Path,
    weights: Path | None = None,
    teacher: Path | None = None,
) -> dict[str, Any]:
    """Return the results of the training in ``folder``, which is done or finished if need be.

    The arguments are those of :func:`run_training`.
    """
    if _exists(folder / RESULTS):
        results: dict[str, Any] = read_json(folder / RESULTS)
        return results
    return run_training(
        recipe,
        folder,
        architecture=architecture,
        weights=weights,
        teacher=teacher,
        resume=last_checkpoint(folder).exists(),
        part_of=part_of,
        options=options,
    )


def _exists(file: Path) -> bool:
    """Whether a file exists; all processes have looked before any goes on to change that."""
    found = file.exists()
    make_accelerator("no").wait_for_everyone()
    return found
