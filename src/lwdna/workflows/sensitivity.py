"""``lwdna sensitivity``: what each group of a trained network can lose."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lwdna.architecture import Architecture, load
from lwdna.channels import ChannelGraph
from lwdna.engine import Task
from lwdna.engine.device import make_accelerator
from lwdna.engine.display import counted
from lwdna.engine.evaluation import Evaluation
from lwdna.engine.fingerprint import Fingerprint
from lwdna.engine.machine import machine, versions
from lwdna.engine.order import train_batches
from lwdna.engine.task import describe
from lwdna.engine.together import by_first, shared
from lwdna.errors import ArchitectureError, CheckpointError, FileError, ModelError
from lwdna.files import read_json, write_json, write_text
from lwdna.inputs import move
from lwdna.methods.sensitivity.measure import Subject, measure_group, score_units, slices
from lwdna.methods.sensitivity.settings import SensitivitySettings
from lwdna.methods.sensitivity.validation import part_of
from lwdna.recipe import Recipe
from lwdna.run_folder import DATA, LOCK, RECIPE, SENSITIVITY_RECORD, check_no_comparison
from lwdna.run_options import RunOptions
from lwdna.workflows.one_writer import one_writer
from lwdna.workflows.resume import check_same_recipe
from lwdna.workflows.same_data import check_same_classes, check_same_data, write_data
from lwdna.workflows.setup import fit_to_data, make_task

_AT_FIRST = {LOCK, DATA, RECIPE}
"""What an analysis leaves that was killed before its record was written."""


def run_sensitivity(
    weights: Path,
    recipe: Recipe,
    out: Path,
    settings: SensitivitySettings,
    *,
    resume: bool = False,
    options: RunOptions = RunOptions(),
) -> dict[str, Any]:
    """Slice one group of a trained network at a time and measure what is left.

    A slice keeps the group's best units; statistics of batch normalisation are computed anew on
    the first training batches of the recipe's seed, and nothing is trained. ``sensitivity.json`` is
    written after every group. An analysis that was stopped goes on with the next group.

    Args:
        weights: a ``.safetensors`` file.
        recipe: names the data, and how batches are made of them.
        out: gets the files.
        settings: how far to cut, by what criterion, on what to measure.
        resume: there must be an analysis in ``out`` to go on with.
        options: progress bar, trust.

    Returns:
        What ``sensitivity.json`` holds.

    Raises:
        CheckpointError: the file does not hold a network, or is damaged; there is nothing to
            resume; or ``out`` holds the analysis of another network or with other settings.
        ArchitectureError: the network is not for this data set or its classes.
        ModelError: no group of the network is free.
        DataError: the analysis in ``out`` was made on other data.
        LockedError: another process writes ``out``.
        FileError: the results cannot be written.
    """
    with one_writer(out, options):
        return _run(weights, recipe, out, settings, resume, options)


def _run(
    weights: Path,
    recipe: Recipe,
    out: Path,
    settings: SensitivitySettings,
    resume: bool,
    options: RunOptions,
) -> dict[str, Any]:
    about = {
        "settings": settings.model_dump(mode="json"),
        "weights": {"file": str(weights), "digest": _digest(weights)},
    }
    started = by_first(lambda: _started(out, recipe, about, resume))
    before: dict[str, Any] | None = shared(started)
    task = make_task(recipe, options.say)
    data = check_same_data(task, out if before else None, None, options)
    network, architecture = load(weights, trust_code=options.trust_code)
    architecture = fit_to_data(architecture, task, str(weights), options)
    check_same_classes(weights, task, f"the network in {weights}", options)
    device = make_accelerator("no").device
    graph = _graph(architecture, task, options)
    if not graph.groups:
        raise ModelError(
            f"no group of channels of {architecture.model and architecture.model.name} is free, so "
            "that none can lose any; `lwdna inspect --details` says why"
        )
    if before is not None and len(before["groups"]) == len(graph.groups):
        return before
    subject = _subject(network.to(device), graph, task, recipe, settings)
    whole = subject.recalibrated()
    record = before or _begun(about, subject, whole, recipe, architecture)
    if before is None and make_accelerator("no").is_main_process:
        _write_start(recipe, data, record, out)
    _measure_groups(record, subject, whole, settings, out, options)
    make_accelerator("no").wait_for_everyone()  # the first one has written what all may read
    return record


def _started(
    out: Path, recipe: Recipe, about: dict[str, Any], resume: bool
) -> dict[str, Any] | None:
    """Return what an analysis in ``out`` has found so far, None if there is none."""
    check_no_comparison(out)
    path = out / SENSITIVITY_RECORD
    if not path.is_file():
        if resume:
            raise CheckpointError(
                f"nothing to resume in {out}: it holds no {SENSITIVITY_RECORD}; name the folder of "
                "an analysis (--out) or start without --resume"
            )
        if (out / RECIPE).is_file() and {file.name for file in out.iterdir()} - _AT_FIRST:
            raise FileError(f"{out} already holds another run; choose another folder (--out)")
        return None
    found = read_json(path)
    try:
        changed = [
            f"{name} was {found['settings'].get(name)} and is now {value}"
            for name, value in about["settings"].items()
            if found["settings"].get(name) != value
        ]
        if found["weights"]["digest"] != about["weights"]["digest"]:
            changed.append(f"it is of the network in {found['weights']['file']}")
        found["groups"] = list(found["groups"])
    except (LookupError, TypeError, AttributeError) as error:
        raise FileError(f"{path} is damaged; delete it to start anew") from error
    if changed:
        raise CheckpointError(
            f"{out} holds another analysis: {'; '.join(changed)}; choose another folder (--out) or "
            "delete it"
        )
    check_same_recipe(out, recipe)
    return dict(found)


def _graph(architecture: Architecture, task: Task, options: RunOptions) -> ChannelGraph:
    """Return the groups of the network's baseline, as wide as they are in the network."""
    source = architecture.model
    if source is None:
        raise ArchitectureError(
            "the architecture does not say how to make its baseline, whose groups are cut; write "
            "the weights again with a network's name"
        )
    given = task.example_inputs(), architecture.edits, options.trust_code
    return source.graph(*given).at(architecture.widths)


def _subject(
    network: nn.Module,
    graph: ChannelGraph,
    task: Task,
    recipe: Recipe,
    settings: SensitivitySettings,
) -> Subject:
    """Score the network's units and get the batches for its statistics."""
    device = make_accelerator("no").device
    shrink = recipe.shrink.model_copy(update={"criterion": settings.criterion})

    def batches(size: int, count: int) -> list[Any]:
        order = train_batches(task.train_size, size, seed=recipe.seed, epoch=0)
        indices = [batch.tolist() for batch in order[:count]]
        return list(task.train_batches(indices, seed=recipe.seed, epoch=0, device=device))

    inputs = move(task.example_inputs(), device)
    chosen = batches(shrink.batch_size, shrink.batches)
    scores = score_units(network, graph, inputs, chosen, task, shrink, recipe.seed)
    part = part_of(task, settings.images, recipe.seed)
    statistics = batches(recipe.train.batch_size, settings.batches)
    return Subject(network, graph, scores, statistics, part, recipe.train)


def _begun(
    about: dict[str, Any],
    subject: Subject,
    whole: Evaluation,
    recipe: Recipe,
    architecture: Architecture,
) -> dict[str, Any]:
    """Return the record of an analysis before the first group."""
    task, cost = subject.task, subject.graph.cost()
    return {
        **about,
        **describe(task.metric, *task.other_metrics),
        "network": architecture.model and architecture.model.name,
        "examples": task.eval_size,
        "seed": recipe.seed,
        "macs": cost.macs,
        "params": cost.params,
        "dense": subject.whole().metrics,
        "recalibrated": whole.metrics,
        "count": len(subject.graph.groups),
        "groups": [],
        "versions": versions(),
        "machine": machine(),
    }


def _measure_groups(
    record: dict[str, Any],
    subject: Subject,
    whole: Evaluation,
    settings: SensitivitySettings,
    out: Path,
    options: RunOptions,
) -> None:
    """Measure the groups that are missing in ``record``, which is written after each."""
    first = make_accelerator("no").is_main_process
    groups = subject.graph.groups
    sizes = [slices({group.name: group.width}, settings.shares) for group in groups]
    ends = np.cumsum([0, *sizes]).tolist()
    start = len(record["groups"])
    shown = options.progress and first
    with counted(shown, "measuring slices", total=ends[-1], done=ends[start]) as tell:
        for number, group in enumerate(groups[start:], start=start):
            tell(ends[number], group.name)
            found = {
                "name": group.name,
                "width": group.width,
                "exact": group.exact,
                "slices": measure_group(subject, group, settings.shares, whole),
            }
            record["groups"].append(found)
            if first:
                write_json(out / SENSITIVITY_RECORD, record)
        tell(ends[-1], "")


def _write_start(
    recipe: Recipe, data: Fingerprint | None, record: dict[str, Any], out: Path
) -> None:
    write_data(out, data)
    write_text(out / RECIPE, recipe.to_yaml())
    write_json(out / SENSITIVITY_RECORD, record)  # last: with it the analysis can go on


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
