"""``lwdna slim``: make a trained network smaller, and write everything worth keeping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lwdna.architecture import Architecture, load, save
from lwdna.engine import Task, machine, versions
from lwdna.engine.device import make_accelerator
from lwdna.engine.fingerprint import Fingerprint
from lwdna.engine.latency import compare_latency
from lwdna.engine.task import describe
from lwdna.engine.together import shared
from lwdna.errors import CheckpointError, RecipeError
from lwdna.files import write_json, write_text
from lwdna.inputs import move
from lwdna.methods import Slimmed, Trained
from lwdna.methods.prepare import keep_choice
from lwdna.methods.slimming import check_budget
from lwdna.recipe import Recipe, change_recipe
from lwdna.run_folder import (
    ARCHITECTURE,
    DATA,
    DENSE,
    LOCK,
    RECIPE,
    RESULTS,
    SLIM_RECORD,
    WEIGHTS,
    check_no_comparison,
)
from lwdna.run_options import RunOptions
from lwdna.workflows.interface_of import interface_of
from lwdna.workflows.one_writer import one_writer
from lwdna.workflows.pretrained import check_start
from lwdna.workflows.resume import check_same_recipe
from lwdna.workflows.same_data import check_same_classes, check_same_data, write_data
from lwdna.workflows.setup import (
    fit_to_recipe,
    make_baseline,
    make_source,
    make_task,
    make_teacher,
)
from lwdna.workflows.slim_rounds import OWN_TEACHER, Slimming
from lwdna.workflows.slim_transforms import begun, merged
from lwdna.workflows.steps import train_once
from lwdna.workflows.training import figures, write_trained


def run_slim(
    recipe: Recipe,
    out: str | Path,
    *,
    weights: Path | None = None,
    resume: bool = False,
    options: RunOptions = RunOptions(),
) -> dict[str, Any]:
    """Make a trained network smaller and fine-tune what is left, with the dense one as teacher.

    The dense network is that of ``weights``; or the one that the recipe's network comes with
    (``model.pretrained``); or it is trained first, with the recipe's protocol.

    Writes into ``out``: ``recipe.yaml``, ``data.json``, ``dense/`` (a copy of the dense network),
    ``rounds/`` (what each round of the schedule left), what a training writes for the network
    tuned, and ``slim.json``.

    Args:
        recipe: network, data, the sections ``slim`` and ``train``.
        out: gets the files; must not hold another run, unless ``resume``.
        weights: a file with the trained network, of the recipe's network.
        resume: go on where the run in ``out`` was stopped; the result is the same.
        options: progress bars, what is being done, trust.

    Returns:
        What ``slim.json`` holds: the stages *dense, sliced, recalibrated, tuned* with their metrics
        and costs, groups with widths and scores, rounds, budget.

    Raises:
        CheckpointError: ``out`` holds another run, or none to resume, or weights are damaged or not
            finite.
        LockedError: another process writes ``out``.
        DataError: the run to resume was started with other data.
        ArchitectureError: ``weights``, or a teacher, are of another network or for other classes.
        BudgetError: floors, ratios and protected groups forbid the budget; they are named.
        TrainingInterrupted: a signal asked to stop; the checkpoint is saved.
    """
    out = Path(out)
    if weights is None and not resume:
        check_start(recipe)
    with one_writer(out, options):
        return _slim(recipe, out, weights, resume, options)


def recipe_of_weights(weights: Path, recipe: Recipe) -> Recipe:
    """Return a recipe whose network, and size of images, are those of a file of weights.

    Raises:
        CheckpointError: the file is damaged, or its network was no network of a name.
    """
    architecture = Architecture.load(weights)
    if architecture.model is None:
        raise CheckpointError(
            f"{weights} does not say how to make its network; slim it in Python: lwdna.slim(...)"
        )
    changes: dict[str, Any] = {
        "model.name": architecture.model.name,
        "model.args": architecture.model.args,
        "model.transforms": [one.model_dump(mode="json") for one in architecture.model.transforms],
        "edits": architecture.edits.model_dump(mode="json"),
    }
    size = architecture.input_size
    if isinstance(size, tuple) and len(size) == 3 and all(isinstance(n, int) for n in size):
        fields = type(recipe.data).model_fields
        given = {"in_chans": size[0], "image_size": size[1]}
        changes |= {f"data.{key}": value for key, value in given.items() if key in fields}
    return change_recipe(recipe, changes, str(weights))


def _slim(
    recipe: Recipe, out: Path, weights: Path | None, resume: bool, options: RunOptions
) -> dict[str, Any]:
    _check_start(recipe, out, resume)
    recipe.tuning()  # an error now is better than one after an hour
    task = make_task(recipe, options.say)
    data = check_same_data(task, out if resume else None, None, options)
    dense = None if resume else _given(recipe, task, weights, options)
    if dense is None and not shared((out / DENSE / WEIGHTS).is_file()):
        _check_untrained(recipe, task, options)
    distill = recipe.slim.distill
    if distill and distill.teacher != OWN_TEACHER:
        make_teacher(distill.teacher, task, None, options)  # a fault now leaves nothing behind
    processes = make_accelerator("no")
    processes.wait_for_everyone()  # all have looked at the folder before it changes
    if processes.is_main_process and not resume:
        _write_start(recipe, data, task, dense, out)
    dense = dense or _trained(recipe, task, out, options)
    slimming = Slimming(recipe, task, dense, out, options)
    left, rounds = slimming.rounds()
    tuned = slimming.tuned(left)
    tuned, architecture = merged(tuned, _described(left.architecture, recipe), options.trust_code)
    results = {"name": "slim", **figures(task, tuned, architecture, out / DENSE / WEIGHTS, options)}
    if slimming.teaching:
        results["distill"] = slimming.teaching.model_dump(mode="json")
    if processes.is_main_process:
        architecture.save(out / ARCHITECTURE)
        results |= write_trained(recipe, architecture, task, tuned, out)
        stages = [*slimming.stages(rounds), _stage("tuned", results, tuned.metrics)]
        if recipe.train.channels_last:  # as the slim network was trained
            dense.network.to(memory_format=torch.channels_last)
        _time(stages, results, [dense.network, tuned.model], task)
        record = _record(recipe, task, slimming.begin, rounds, stages)
        write_json(out / SLIM_RECORD, record)
        write_json(out / RESULTS, results)  # last: it says that the run is finished
    return shared(record if processes.is_main_process else {})


def _given(recipe: Recipe, task: Task, weights: Path | None, options: RunOptions) -> Slimmed | None:
    """Return the trained network to begin with; None where it has to be trained first."""
    if weights is not None:
        network, architecture = load(weights, trust_code=options.trust_code)
        architecture = fit_to_recipe(architecture, recipe, task, options)
        check_same_classes(weights, task, f"the network in {weights}", options)
        return _dense(network, architecture, str(weights), recipe, task, options)
    if not recipe.model.pretrained:
        return None
    source = make_source(recipe, task)
    network = make_baseline(recipe, source, options.trust_code, trained=True)
    _check_classifier(network, source.name, source.args)
    return _dense(network, None, source.name, recipe, task, options)


def _check_classifier(network: nn.Module, name: str, args: dict[str, Any]) -> None:
    """Make sure that a network that comes with weights has them in its classifier, too.

    Raises:
        RecipeError: it was trained for another number of classes.
    """
    known = getattr(network, "pretrained_cfg", None)
    classes = known.get("num_classes") if isinstance(known, dict) else None
    wanted = args.get("num_classes")
    if None not in (classes, wanted) and classes != wanted:
        raise RecipeError(
            f"{name} comes with weights for {classes} classes, the data have {wanted}: its "
            "classifier would be untrained; train it first (lwdna train with "
            "--pretrained), then slim that run"
        )


def _trained(recipe: Recipe, task: Task, out: Path, options: RunOptions) -> Slimmed:
    """Return the dense network in the folder of the run, which is trained if need be."""
    file = out / DENSE / WEIGHTS
    if not shared(file.is_file()):
        options.say("training the dense network first: no weights were given")
        train_once(recipe, out / DENSE, None, options, part_of=out)
        make_accelerator("no").wait_for_everyone()
    network, architecture = load(file, trust_code=options.trust_code)
    return _dense(network, architecture, str(file), recipe, task, options)


def _dense(
    network: nn.Module,
    architecture: Architecture | None,
    origin: str,
    recipe: Recipe,
    task: Task,
    options: RunOptions,
) -> Slimmed:
    """Return the network to begin with, on the device of this process.

    Args:
        network: with its weights.
        architecture: what it is; None for the baseline.
        origin: what errors call it.
        recipe: of the run.
        task: its data.
        options: trust.

    Raises:
        CheckpointError: the weights are not finite.
        BudgetError: the budget cannot be met.
    """
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"the weights of {origin} are not finite ({name}); use those of a training that "
                "did not diverge"
            )
    device, source = make_accelerator("no").device, make_source(recipe, task)
    widths = architecture.widths if architecture else None
    own, baseline = Trained(network.to(device), widths), None
    if architecture and architecture.cost != architecture.baseline:
        baseline = make_baseline(recipe, source, options.trust_code).to(device)
    inputs = move(task.example_inputs(), device)
    dense = Slimmed.dense(own, inputs, source, recipe.edits, baseline)
    dense = replace(dense, architecture=architecture) if architecture else dense
    begin, settings = begun(dense, inputs, recipe, options.trust_code)
    check_budget(begin, inputs, settings)
    return dense


def _check_untrained(recipe: Recipe, task: Task, options: RunOptions) -> None:
    """Make sure that the budget can be met, before the dense network is trained."""
    source, inputs = make_source(recipe, task), task.example_inputs()
    model = make_baseline(recipe, source, options.trust_code)
    dense = Slimmed.dense(Trained(model), inputs, source, recipe.edits)
    begin, settings = begun(dense, inputs, recipe, options.trust_code)
    check_budget(begin, inputs, settings)


def _described(architecture: Architecture, recipe: Recipe) -> Architecture:
    """Return the architecture with the whole story of how it was found."""
    whole = recipe.slim.model_dump(mode="json", include={"tune", "distill"})
    whole["schedule"] = recipe.slim.plan.model_dump(mode="json")
    return architecture.model_copy(update={"found": {**architecture.found, **whole}})


def _stage(name: str, results: dict[str, Any], metrics: dict[str, float]) -> dict[str, Any]:
    costs = {key: results[key] for key in ("macs", "params", "file_bytes")}
    return {"name": name, "metrics": metrics, **costs}


def _time(
    stages: Sequence[dict[str, Any]],
    results: dict[str, Any],
    networks: Sequence[nn.Module],
    task: Task,
) -> None:
    """Write down how long the dense and the slim network take; all slim stages are one network."""
    whole, results["latency_ms"] = compare_latency(networks, task.example_inputs())
    for stage in stages:
        stage["latency_ms"] = whole if stage["name"] == "dense" else results["latency_ms"]


def _record(
    recipe: Recipe,
    task: Task,
    dense: Slimmed,
    rounds: list[dict[str, Any]],
    stages: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return what ``slim.json`` holds."""
    own, found = recipe.slim, rounds[-1]["widths"]
    return {
        "stages": stages,
        **describe(task.metric, *task.other_metrics),
        "groups": [
            {
                "name": name,
                "dense": width,
                "found": found[name],
                "scores": rounds[0]["scores"][name],
            }
            for name, width in dense.widths.items()
        ],
        "budget": own.budget.model_dump(mode="json"),
        "criterion": own.criterion,
        "keep": keep_choice(own.as_search(), trained=True),
        "schedule": own.plan.model_dump(mode="json"),
        "rounds": [{key: one[key] for key in ("macs", "params", "metrics")} for one in rounds],
        "seed": recipe.seed,
        "versions": versions(),
        "machine": machine(),
    }


def _check_start(recipe: Recipe, out: Path, resume: bool) -> None:
    check_no_comparison(out)
    if resume and not (out / RECIPE).is_file():
        raise CheckpointError(
            f"nothing to resume in {out}: it holds no {RECIPE}; name the folder of an interrupted "
            "run or start without --resume"
        )
    if resume:
        check_same_recipe(out, recipe)
    elif not {file.name for file in out.iterdir()} <= {LOCK, DATA, DENSE}:
        raise CheckpointError(
            f"{out} already holds a run; go on with it (--resume), choose another folder (--out) "
            "or delete it"
        )


def _write_start(
    recipe: Recipe,
    data: Fingerprint | None,
    task: Task,
    dense: Slimmed | None,
    out: Path,
) -> None:
    write_data(out, data)
    if dense is not None:
        save(dense.network, dense.architecture, out / DENSE / WEIGHTS, interface_of(recipe, task))
    write_text(out / RECIPE, recipe.to_yaml())  # last: with it the run can be resumed
