"""What ``--dry-run`` prints."""

from __future__ import annotations

from pathlib import Path

from lwdna.architecture import Architecture
from lwdna.cli.output import say
from lwdna.recipe import Recipe
from lwdna.run_options import RunOptions
from lwdna.workflows.estimate import Estimate, Verb, estimate


def print_estimate(
    recipe: Recipe, verb: Verb, trust_code: bool, architecture: Path | None = None
) -> None:
    """Print what a recipe will cost, by the speed of its baseline, or of a network found, here."""
    options = RunOptions(trust_code=trust_code, say=say)
    found = Architecture.load(architecture) if architecture else None
    for line in lines(estimate(recipe, verb, architecture=found, options=options)):
        say(line, last=True)


def lines(found: Estimate) -> list[str]:
    """Return an estimate in words."""
    unit = "GPU hours" if found.gpu else "hours of this machine"
    fits = f"; about {found.largest_batch} images fit at once" if found.largest_batch else ""
    return [
        "dry run: nothing is kept",
        f"speed: {found.images_per_second:.4g} images per second in training ({found.steps} steps "
        f"of {found.batch}), {found.eval_images_per_second:.4g} in evaluation",
        f"time: {_trainings(found)} of {_hours(found.training_hours)}, search "
        f"{_hours(found.search_hours)}: {_hours(found.hours)} ({found.hours:.3g} {unit})",
        f"memory: {_size(found.peak_bytes)} of {_size(found.memory_bytes)} at batch "
        f"{found.batch}{fits}",
        f"disk: {_size(found.disk_bytes)} for checkpoints and weights, "
        f"{_size(found.cache_bytes)} for decoded images",
    ]


def _trainings(found: Estimate) -> str:
    return "1 training" if found.trainings == 1 else f"{found.trainings} trainings"


def _hours(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.1f} min"


def _size(count: float) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"
