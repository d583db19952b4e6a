"""``lwdna shrink``: find widths and write the architecture with the record of the search."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from lwdna.architecture import save
from lwdna.channels import ChannelGraph
from lwdna.engine import Task
from lwdna.engine.device import make_accelerator
from lwdna.engine.fingerprint import Fingerprint
from lwdna.engine.order import train_batches
from lwdna.errors import CheckpointError, FileError
from lwdna.files import write_json, write_text
from lwdna.inputs import move
from lwdna.methods import Search, Trained, TrialSetup, WarmupRun, search
from lwdna.methods.trials.runs import Proxy, Workers
from lwdna.model_source import ModelSource
from lwdna.recipe import Recipe
from lwdna.run_folder import (
    ARCHITECTURE,
    RECIPE,
    SEARCH_RECORD,
    TRIALS,
    WARMUP,
    WEIGHTS,
    check_no_comparison,
    last_checkpoint,
)
from lwdna.run_options import LOCAL, RunOptions
from lwdna.workflows.executors import check_executor, opened
from lwdna.workflows.help import help_search, try_network
from lwdna.workflows.interface_of import interface_of
from lwdna.workflows.jobs import helpers
from lwdna.workflows.one_writer import one_writer
from lwdna.workflows.pretrained import check_start, start_of
from lwdna.workflows.resume import check_same_recipe
from lwdna.workflows.same_data import (
    check_same_classes,
    check_same_data,
    write_data,
)
from lwdna.workflows.setup import (
    load_for_recipe,
    make_baseline,
    make_source,
    make_task,
    traced_baseline,
)


def run_search(
    recipe: Recipe,
    out: str | Path,
    *,
    weights: Path | None = None,
    resume: bool = False,
    part_of: Path | None = None,
    options: RunOptions = RunOptions(),
) -> Search:
    """Search as the recipe says; write ``architecture.lwdna.json`` and ``search.json``.

    The data are the first mini-batches that training with this seed would see; a warm-up goes
    through them in the order of training. Several processes share the warm-up; of the rest each
    does the same work and the first one writes. With ``shrink.inherit`` or ``model.pretrained`` the
    network found is written with its weights as ``model.safetensors``.

    Args:
        recipe: the experiment.
        out: gets the files; must not hold another search.
        weights: a file with the trained network to be shrunk, of the recipe's network.
        resume: go on with a search in ``out`` whose warm-up or trials were stopped.
        part_of: the folder of a job or comparison, whose data it must have.
        options: progress bars of the warm-up and of trials, what each trial gave, trust, how many
            processes share the trials, or which cluster makes them.

    Raises:
        FileError: ``out`` holds an architecture already, or cannot be written.
        CheckpointError: there is nothing to resume, or it was another search.
        LockedError: another process writes ``out``.
        DataError: the search to resume, or the job, was started with other data.
        ArchitectureError: ``weights`` are of another network or for other classes.
        ModelError: the weights that the recipe asks for cannot be had.
        BudgetError: no widths meet the budget.
        RecipeError: there is no such cluster.
        TrainingInterrupted: a signal stopped the warm-up or a trial, whose checkpoint is saved.
    """
    out = Path(out)
    check_executor(options)
    if weights is None:
        check_start(recipe)
    with one_writer(out, options):
        return _search(recipe, out, weights, resume, part_of, options)


def _search(
    recipe: Recipe,
    out: Path,
    weights: Path | None,
    resume: bool,
    part_of: Path | None,
    options: RunOptions,
) -> Search:
    _check_start(recipe, out, resume)
    task = make_task(recipe, None if part_of else options.say)
    data = check_same_data(task, out if resume else None, part_of, options)
    source = make_source(recipe, task)
    accelerator = make_accelerator("no")
    settings = recipe.shrink
    if recipe.model.pretrained:
        settings = settings.model_copy(update={"inherit": True})
    order = train_batches(task.train_size, settings.batch_size, seed=recipe.seed, epoch=0)
    indices = [batch.tolist() for batch in order[: settings.batches]]
    model, trained, graph = _networks(recipe, task, source, weights, options)
    accelerator.wait_for_everyone()  # all have looked at the folder before it changes
    if accelerator.is_main_process and (settings.warmup or settings.trials):
        _write_start(recipe, data, out)
    start = time.perf_counter()
    setup = _trial_setup(recipe, task, out, options)
    if not settings.trials:
        options = replace(options, jobs=1, executor=LOCAL, gpus_per_task=None)
    with (
        helpers(options.jobs, help_search, recipe, out, options.of_helper(), threads=1) as others,
        opened(options, out) as executor,
    ):
        work = partial(try_network, out, options.of_helper())
        workers = Workers(executor, work) if executor else None
        found = search(
            model,
            move(task.example_inputs(), accelerator.device),
            task.train_batches(indices, seed=recipe.seed, epoch=0, device=accelerator.device),
            task.loss,
            settings,
            seed=recipe.seed,
            source=source,
            edits=recipe.edits,
            graph=graph,
            trained=trained,
            warmup_run=WarmupRun(task, out / WARMUP, resume, options),
            trial_setup=replace(setup, check=others.check, workers=workers),
        )
    if accelerator.is_main_process:
        _write_start(recipe, data, out)
        _write_end(recipe, task, found, time.perf_counter() - start, out)
    return found


def _networks(
    recipe: Recipe, task: Task, source: ModelSource, weights: Path | None, options: RunOptions
) -> tuple[nn.Module, Trained | None, ChannelGraph | None]:
    """Return the baseline and, where widths are found for a trained network, that one.

    Of the baseline of a trained network nothing but the channel graph is needed, for which it has
    no weights. On a GPU it is traced where it will run, as operators may be others there.
    """
    device, trust = make_accelerator("no").device, options.trust_code
    start = start_of(recipe) if weights is None else None
    if weights is None:
        model = make_baseline(recipe, source, trust, trained=bool(start)).to(device)
        return model, Trained(model, start=start) if start else None, None
    network, architecture = load_for_recipe(weights, recipe, task, options)
    check_same_classes(weights, task, f"the network in {weights}", options)
    trained = Trained(network.to(device), architecture.widths)
    if device.type == "cpu":
        return network, trained, source.graph(task.example_inputs(), recipe.edits, trust)
    return make_baseline(recipe, source, trust).to(device), trained, None


def _trial_setup(recipe: Recipe, task: Task, out: Path, options: RunOptions) -> TrialSetup:
    """Return how trials are made: on the recipe's network, or on the proxy that it names."""
    setup = TrialSetup(task, recipe.train, out / TRIALS, options)
    other = recipe.proxy()
    if other is None:
        return setup
    small = make_task(other)
    images = other.train.epochs * small.train_size / (recipe.train.epochs * task.train_size)
    proxy = Proxy(*traced_baseline(other, small, options.trust_code), images)
    return replace(setup, task=small, protocol=other.train, proxy=proxy)


def _check_start(recipe: Recipe, out: Path, resume: bool) -> None:
    check_no_comparison(out)
    if (out / ARCHITECTURE).exists():
        raise FileError(f"{out} already holds an architecture; choose another folder or delete it")
    if resume and not (out / RECIPE).is_file():
        raise CheckpointError(
            f"nothing to resume in {out}: it holds no {RECIPE}; name the folder of an "
            "interrupted search or start without --resume"
        )
    if resume:
        check_same_recipe(out, recipe)
    elif any((out / TRIALS).glob("[0-9]*")) or last_checkpoint(out / WARMUP).exists():
        raise CheckpointError(
            f"{out} already holds a search that was stopped; go on with it (--resume), choose "
            "another folder (--out) or delete it"
        )


def _write_start(recipe: Recipe, data: Fingerprint | None, out: Path) -> None:
    write_data(out, data)
    write_text(out / RECIPE, recipe.to_yaml())  # last: with it the search can be resumed


def _write_end(recipe: Recipe, task: Task, found: Search, seconds: float, out: Path) -> None:
    tried = sum(trial.seconds for trial in found.trials)  # also before an interruption
    seconds = max(seconds, tried)
    write_json(out / SEARCH_RECORD, {**found.to_json(), "seconds": round(seconds, 3)})
    if found.network is not None:
        save(found.network, found.architecture, out / WEIGHTS, interface_of(recipe, task))
    found.architecture.save(out / ARCHITECTURE)  # last: it says that the search is finished
