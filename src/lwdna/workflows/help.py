"""Help another process with the trials of its search."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from lwdna.engine.together import by_first, shared
from lwdna.errors import CheckpointError, FileError, LockedError, RecipeError
from lwdna.locks import locked
from lwdna.methods import TrialSetup
from lwdna.methods.trials.rounds import maker
from lwdna.methods.trials.runs import Make, Protocol, join_trials, shortened, tried
from lwdna.recipe import Recipe, load_recipe
from lwdna.run_folder import ARCHITECTURE, LOCK, RECIPE, TRIALS
from lwdna.run_options import RunOptions
from lwdna.workflows.resume import check_same_recipe
from lwdna.workflows.same_data import check_same_data
from lwdna.workflows.setup import make_task, traced_baseline


def help_search(recipe: Recipe, out: str | Path, options: RunOptions = RunOptions()) -> None:
    """Train networks that the search in ``out`` wants to try, until it has ended.

    Any number of processes may help, on any machine that sees the folder. They write nothing but
    records of trials, so that the search finds what it would find alone.

    Args:
        recipe: that of the search.
        out: its folder, which another process writes.
        options: progress bars of trials, trust.

    Raises:
        CheckpointError: the search ended without a result, or is one with another recipe.
        DataError: it was started with other data.
        FileError: the file system knows no locks.
        RecipeError: the recipe has no trials.
        TrainingInterrupted: a signal stopped a trial, whose checkpoint is saved.
    """
    out = Path(out)
    if recipe.shrink.trials is None:
        raise RecipeError("a search without shrink.trials has nothing to help with")

    def ended() -> bool:
        return (out / ARCHITECTURE).is_file() or not _held(out)

    if _begun(out, ended):
        _help(recipe, out, options, ended)
    if not shared((out / ARCHITECTURE).is_file()):
        raise CheckpointError(
            f"the search in {out} was stopped; go on with it: lwdna shrink --resume --out {out}"
        )


def _help(recipe: Recipe, out: Path, options: RunOptions, ended: Callable[[], bool]) -> None:
    make, setup, protocol = _prepared(recipe, out, options)
    join_trials(make, setup, protocol, recipe.seed, ended)


def _prepared(recipe: Recipe, out: Path, options: RunOptions) -> tuple[Make, TrialSetup, Protocol]:
    """Return what trials need, as the process has it that searches."""
    assert recipe.shrink.trials
    by_first(lambda: check_same_recipe(out, recipe))
    task = make_task(recipe)
    check_same_data(task, out, None, options)
    network = recipe.proxy() or recipe
    if network is not recipe:
        task = make_task(network)
    return (
        maker(*traced_baseline(network, task, options.trust_code)),
        TrialSetup(task, network.train, out / TRIALS, options),
        shortened(network.train, recipe.shrink.trials, task.train_size),
    )


def try_network(out: Path, options: RunOptions, number: int, widths: dict[str, int]) -> bool:
    """Do what is left of one trial of the search in ``out``, in a process made for such.

    Args:
        out: the folder of the search, which another process writes; the recipe is there.
        options: trust.
        number: of the trial.
        widths: of its network.

    Returns:
        Whether anything was left that no other process held.

    Raises:
        LwdnaError: as :func:`help_search` and :func:`lwdna.methods.trials.runs.tried`.
    """
    recipe, make, setup, protocol = _kept(_text(out / RECIPE), out.resolve(), options)
    return tried(number, make, widths, setup, protocol, recipe.seed, required=True)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"cannot read {file}: {error.strerror or error}") from error


@lru_cache(maxsize=1)  # a worker makes many trials of one search
def _kept(_: str, out: Path, options: RunOptions) -> tuple[Recipe, Make, TrialSetup, Protocol]:
    """Return what the trials of a search need; its recipe's text tells it from others there."""
    recipe = load_recipe(out / RECIPE)
    return (recipe, *_prepared(recipe, out, options))


def _begun(out: Path, ended: Callable[[], bool]) -> bool:
    """Wait until the search has written down its recipe; return False if it ends before."""
    while not shared((out / RECIPE).is_file()):
        if shared(ended()):
            return False
        time.sleep(0.5)
    return True


def _held(out: Path) -> bool:
    """Whether a process writes a folder."""
    if not (out / LOCK).is_file():
        return False
    try:
        with locked(out / LOCK):
            return False
    except LockedError:
        return True
