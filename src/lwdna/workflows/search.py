"""``lwdna shrink``: find widths and write the architecture with the record of the search."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from lwdna.architecture import load, save
from lwdna.engine.device import make_accelerator
from lwdna.engine.order import train_batches
from lwdna.errors import CheckpointError, FileError
from lwdna.files import write_json, write_text
from lwdna.inputs import move
from lwdna.methods import Bench, Course, Search, Trained, search
from lwdna.recipe import Recipe
from lwdna.workflows.files import (
    ARCHITECTURE,
    RECIPE,
    SEARCH,
    TRIALS,
    WARMUP,
    WEIGHTS,
    check_same_recipe,
)
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
    progress: bool = False,
    trust_code: bool = False,
    say: Callable[[str], None] = lambda _: None,
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
        progress: show the progress of the warm-up and of trials.
        trust_code: allow a baseline whose source imports Python code.
        say: told what each trial gave.

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
    pretrained = comes_trained(recipe) and settings.width_mult == 1
    model = make_baseline(recipe, source, trust_code, trained=pretrained).to(accelerator.device)
    trained = Trained(model) if pretrained else None
    if weights is not None:
        network, architecture = load(weights, trust_code=trust_code)
        check_for_recipe(architecture, recipe, task)
        trained = Trained(network.to(accelerator.device), architecture.widths)
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
        course=Course(task, out / WARMUP, resume, progress),
        bench=Bench(task, recipe.train, out / TRIALS, progress, say),
    )
    tried = sum(trial.seconds for trial in found.trials)  # also before an interruption
    seconds = max(time.perf_counter() - start, tried)
    if accelerator.is_main_process:
        write_text(out / RECIPE, recipe.to_yaml())
        write_json(out / SEARCH, {**found.to_json(), "seconds": round(seconds, 3)})
        if found.network is not None:
            save(found.network, found.architecture, out / WEIGHTS)
        found.architecture.save(out / ARCHITECTURE)  # last: it says that the search is finished
    return found


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
