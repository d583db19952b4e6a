"""What the files and folders of a run are called.

A *search* and a *training* have a folder each. A *job* holds one search and two trainings, a
*comparison* a cell for every arm and seed, with a search and a training each; or all cells of an
arm share one search.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lwdna.errors import CheckpointError

RECIPE = "recipe.yaml"
"""The recipe with every default filled in; a search, a training, a job and a comparison have it."""
DATA = "data.json"
"""Names of the classes and a fingerprint of the data; a search, a training, a job and a comparison
have it."""
ARCHITECTURE = "architecture.lwdna.json"
"""The network found by a search, or that of a training."""
WEIGHTS = "model.safetensors"
"""A trained network with its architecture; also one found by a search with its weights."""
RESULTS = "results.json"
"""Figures of a training, of both trainings of a job, or of a comparison."""

SEARCH_RECORD = "search.json"
"""How a search came to its widths."""
WARMUP = "warmup"
"""Folder with the checkpoints of the warm-up before a search."""
TRIALS = "trials"
"""Folder of the short trainings of a search."""
TRIALS_WANTED = "wanted.json"
"""In the folder of trials, while they are under way: the networks to be tried. What each gave is
``<number>.json`` there; ``<number>.lock`` and ``<number>/`` are those of a trial under way."""
TRIAL_RECORD = "trial.json"
"""What a trial gave, in its own folder before it gets its place."""

SLIM_RECORD = "slim.json"
"""How a trained network was made smaller, and what each stage of that is worth."""
DENSE = "dense"
"""Folder of the network that a slim one is part of: its weights and, if it was trained there, that
training."""
ROUNDS = "rounds"
"""Folder of the rounds of slimming: each has the weights left, and the training after it."""
ROUND_RECORD = "round.json"
"""In the folder of a round: what it left."""

METRICS = "metrics.jsonl"
"""One line per epoch of a training."""
TENSORBOARD = "tensorboard"
"""Folder of a training's TensorBoard events."""
TRACKED = "trackers.json"
"""By which names the trackers of a training know it."""
CHECKPOINTS = "checkpoints"
"""Folder of a training's checkpoints."""
OUTCOMES = "outcomes.safetensors"
"""The primary metric of every validation example, as one tensor under the metric's name."""
PREDICTIONS = "predictions.safetensors"
"""Of a network that tells classes: for every validation example its class (``true``), the class
chosen (``chosen``, -1 is none) and that one's probability (``probability``), as one tensor each."""
EXAMPLES = "examples"
"""Folder of pictures of what the network makes of a few validation examples."""
SHEET = "sheet.jpg"
"""Among the examples of a network that tells classes: small pictures of validation images."""
EXAMPLE_FIGURES = "figures.json"
"""Among the examples: how good input and output of each are."""
TRACKING_RECORD = "tracking.json"
"""Among the examples of a tracker: how well it followed its targets, as curves."""

SEARCH = "search"
"""Folder of the search of a job, of a cell or of all cells of an arm."""
TRAINING = "training"
"""Folder of the training of a cell."""
BASELINE = "baseline"
"""Folder of a job's training of the baseline."""
FOUND = "lwdna"
"""Folder of a job's training of the network found."""
REPORT = "report.html"
"""The page of a job, a search, a training or a comparison."""

SENSITIVITY = "sensitivity"
"""Folder of a sensitivity analysis, beside the weights."""
SENSITIVITY_RECORD = "sensitivity.json"
"""In that folder: what is left of the network when one group is sliced, group by group."""

CELLS = "cells"
"""Folder of the cells of a comparison."""
SAME = "same.json"
"""In a cell, in the place of its training: its network is the baseline, whose training of that seed
is its own."""
TIMINGS = "timings.json"
"""What in a comparison depends on time."""
CLAIM = "claim.lock"
"""In a cell or a shared search: held by the process that works on it."""
RECIPE_LOCK = "recipe.lock"
"""In a comparison: held while its recipe or its report is changed."""

LOCK = "run.lock"
"""In every folder that a run writes: held by its process."""

EVALUATION = "evaluation"
"""Folder of a later evaluation, beside the weights."""
IMAGES = "images"
"""In the folder of an evaluation: what the network made of every example."""


def last_checkpoint(run_dir: str | Path) -> Path:
    """Return where a training keeps its newest checkpoint, whether it exists or not."""
    return Path(run_dir) / CHECKPOINTS / "last.safetensors"


def best_checkpoint(run_dir: str | Path) -> Path:
    """Return where a training keeps its best weights, whether they exist or not."""
    return Path(run_dir) / CHECKPOINTS / "best.safetensors"


def cell_folder(folder: Path, arm: str, seed: int) -> Path:
    """Return where a comparison in ``folder`` keeps a cell."""
    return folder / CELLS / arm / f"seed{seed}"


def shared_search(folder: Path, arm: str) -> Path:
    """Return where a comparison in ``folder`` keeps the search that all seeds of an arm share."""
    return folder / CELLS / arm / SEARCH


def training_of_cell(folder: Path, arm: str, seed: int, baseline: str) -> Path:
    """Return where the training of a cell is: that of the baseline's cell where both are one.

    Args:
        folder: of the comparison.
        arm: of the cell.
        seed: of the cell.
        baseline: the arm that is the baseline.
    """
    place = cell_folder(folder, arm, seed)
    if (place / SAME).is_file():
        place = cell_folder(folder, baseline, seed)
    return place / TRAINING


def is_free(folder: Path) -> bool:
    """Whether a run may begin in a folder: it is missing, or nothing was trained or found there.

    What a run leaves that fails or is killed before is not worth keeping. A recipe without a record
    of data beside it may be the user's own.
    """
    if not folder.exists():
        return True
    if not folder.is_dir() or ((folder / RECIPE).exists() and not (folder / DATA).exists()):
        return False
    early = {LOCK, RECIPE_LOCK, DATA, RECIPE}
    known = {folder: early, folder / SEARCH: early, folder / SEARCH / TRIALS: {TRIALS_WANTED}}
    return all(
        file in known if file.is_dir() else file.name in known[file.parent]
        for file in folder.rglob("*")  # a folder before what it holds
    )


def clear(folder: Path) -> None:
    """Remove what :func:`is_free` lets a run find, but for the locks of who is at work."""
    for name in (RECIPE, DATA):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / SEARCH, ignore_errors=True)


def is_comparison(folder: Path) -> bool:
    """Whether a folder is that of a comparison."""
    return (folder / CELLS).is_dir()


def check_no_comparison(folder: Path) -> None:
    """Make sure that a folder is not that of a comparison.

    Raises:
        CheckpointError: it is.
    """
    if is_comparison(folder):
        raise CheckpointError(f"{folder} holds a comparison; choose another folder (--out)")


def find_weights(path: str | Path) -> Path:
    """Return the weights file of a training run, or ``path`` if it is a file.

    Raises:
        CheckpointError: there is none; the runs inside the folder are named.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(
            f"there is no run or file {path}; give the folder of a training run or a "
            ".safetensors file"
        )
    if (path / WEIGHTS).is_file():
        return path / WEIGHTS
    inside = sorted(str(file.parent) for file in path.glob(f"*/{WEIGHTS}"))
    hint = f"did you mean {' or '.join(inside)}?" if inside else "finish its training first"
    raise CheckpointError(f"{path} holds no trained network ({WEIGHTS}); {hint}")
