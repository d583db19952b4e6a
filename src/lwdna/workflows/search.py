"""``lwdna shrink``: find widths and write the architecture with the record of the search."""

from __future__ import annotations

import time
from pathlib import Path

from torch import nn

from lwdna.architecture import ModelSource, load, save
from lwdna.engine import Task
from lwdna.engine.device import make_accelerator
from lwdna.engine.order import train_batches
from lwdna.errors import CheckpointError, FileError
from lwdna.files import write_json, write_text
from lwdna.inputs import move
from lwdna.methods import Search, Trained, TrialSetup, WarmupRun, search
from lwdna.recipe import Recipe
from lwdna.run_folder import ARCHITECTURE, RECIPE, SEARCH_RECORD, TRIALS, WARMUP, WEIGHTS
from lwdna.run_options import RunOptions
from lwdna.workflows.resume import check_same_recipe
from lwdna.workflows.setup import (
    check_for_recipe,
    comes_trained,
    make_baseline,
    make_source,
    make_task,
)


def run_search(
    recipe: Recipe,
    out: str | Path,
    *,
    weights: Path | None = None,
    resume: bool = False,
    options: RunOptions = RunOptions(),
) -> Search:
    """Search as the recipe says; write ``architecture.lwdna.json`` and ``search.json``.

    The data are the first mini-batches that training with this seed would see; a warm-up goes
    through them in the order of training. Several processes share the warm-up; of the rest each
    does the same work and the first one writes. With ``shrink.inherit`` the network found is
    written with its weights as ``model.safetensors``.

    Args:
        recipe: the experiment.
        out: gets the files; must not hold another search.
        weights: a file with the trained network to be shrunk, of the recipe's network.
        resume: go on with a search in ``out`` whose warm-up or trials were stopped.
        options: progress bars of the warm-up and of trials, what each trial gave, trust.

    Raises:
        FileError: ``out`` holds an architecture already, or cannot be written.
        CheckpointError: there is nothing to resume, or it was another search.
        BudgetError: no widths meet the budget.
        TrainingInterrupted: a signal stopped the warm-up, whose checkpoint is saved, or a trial,
            which begins anew.
    """
    out = Path(out)
    _check_start(recipe, out, resume)
    task = make_task(recipe)
    source = make_source(recipe, task)
    accelerator = make_accelerator("no")
    settings = recipe.shrink
    order = train_batches(task.train_size, settings.batch_size, seed=recipe.seed, epoch=0)
    indices = [batch.tolist() for batch in order[: settings.batches]]
    model, trained = _networks(recipe, task, source, weights, options.trust_code)
    accelerator.wait_for_everyone()  # all have looked at the folder before it changes
    if accelerator.is_main_process and (settings.warmup or settings.trials):
        write_text(out / RECIPE, recipe.to_yaml())  # with it the search can be resumed
    start = time.perf_counter()
    found = search(
        model,
        move(task.example_inputs(), accelerator.device),
        task.train_batches(indices, seed=recipe.seed, epoch=0, device=accelerator.device),
        task.loss,
        settings,
        seed=recipe.seed,
        source=source,
        edits=recipe.edits,
        trained=trained,
        warmup_run=WarmupRun(task, out / WARMUP, resume, options),
        trial_setup=TrialSetup(task, recipe.train, out / TRIALS, options),
    )
    if accelerator.is_main_process:
        _write_end(recipe, found, time.perf_counter() - start, out)
    return found


def _networks(
    recipe: Recipe, task: Task, source: ModelSource, weights: Path | None, trust_code: bool
) -> tuple[nn.Module, Trained | None]:
    """Return the baseline and, where widths are found for a trained network, that one."""
    device = make_accelerator("no").device
    pretrained = comes_trained(recipe) and recipe.shrink.width_mult == 1
    model = make_baseline(recipe, source, trust_code, trained=pretrained).to(device)
    if weights is None:
        return model, Trained(model) if pretrained else None
    network, architecture = load(weights, trust_code=trust_code)
    check_for_recipe(architecture, recipe, task)
    return model, Trained(network.to(device), architecture.widths)


def _check_start(recipe: Recipe, out: Path, resume: bool) -> None:
    if (out / ARCHITECTURE).exists():
        raise FileError(f"{out} already holds an architecture; choose another folder or delete it")
    if resume and not (out / RECIPE).is_file():
        raise CheckpointError(
            f"nothing to resume in {out}: it holds no {RECIPE}; name the folder of an "
            "interrupted search or start without --resume"
        )
    if resume:
        check_same_recipe(out, recipe)


def _write_end(recipe: Recipe, found: Search, seconds: float, out: Path) -> None:
    tried = sum(trial.seconds for trial in found.trials)  # also before an interruption
    seconds = max(seconds, tried)
    write_text(out / RECIPE, recipe.to_yaml())
    write_json(out / SEARCH_RECORD, {**found.to_json(), "seconds": round(seconds, 3)})
    if found.network is not None:
        save(found.network, found.architecture, out / WEIGHTS)
    found.architecture.save(out / ARCHITECTURE)  # last: it says that the search is finished
