"""How a result came about: settings, versions, commands, and whether both trainings were alike."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lwdna.errors import FileError, RecipeError
from lwdna.input_size import InputSize, describe, only
from lwdna.recipe import values_made
from lwdna.reports.formats import format_score, format_seconds, format_trials
from lwdna.reports.records import DataRecord
from lwdna.reports.run_files import RunFiles, TrainingRun
from lwdna.run_folder import ARCHITECTURE, BASELINE, FOUND, RECIPE, SEARCH

# What names the network or the search may differ; the training of both must not.
_NOT_PROTOCOL = ("model", "shrink", "seed")


def facts(run: RunFiles) -> list[tuple[str, str]]:
    """Return what is known of the search and of both trainings as (name, value) pairs."""
    pairs: dict[str, str] = {}
    search = run.search
    if run.network is not None:
        pairs["network"] = run.network.name
        pairs.update(flat(run.network.args, "network argument"))
        for transform in run.network.transforms:
            title = f"transform {transform.get('name')}"
            pairs.update(flat({k: v for k, v in transform.items() if k != "name"}, title))
    if run.input_size:
        pairs["input size"] = describe(run.input_size, times=" × ")
    if search is not None:
        if search.criterion:
            pairs["criterion"] = search.criterion
        pairs.update(flat(search.budget, "budget"))
        if search.threshold is not None:
            pairs["threshold"] = format_score(search.threshold)
        if search.trials:
            pairs["trials"] = format_trials([trial.loss for trial in search.trials])
        if search.seconds is not None:
            pairs["search time"] = format_seconds(search.seconds)
    if run.architecture is not None:
        found = dict(run.architecture.found)
        versions = found.pop("versions", {})
        told = () if search is None else ("budget", "criterion")
        for name, value in flat({key: found[key] for key in found if key not in told}, ""):
            pairs.setdefault(name, value)
        if isinstance(versions, Mapping):
            pairs.update(flat(versions, "version of"))
    pairs.update(_training_facts(run))
    return list(pairs.items())


def differences(run: RunFiles) -> list[str]:
    """Return the recipe's settings by which the two trainings differ, as readable texts.

    Raises:
        FileError: a recipe is not YAML.
    """
    if run.baseline is None or run.found is None:
        return []
    if run.baseline.recipe is None or run.found.recipe is None:
        return []
    before, after = (dict(_settings(training)) for training in (run.baseline, run.found))
    return [
        f"{key} ({before.get(key, 'not set')} for the baseline, {after.get(key, 'not set')} for "
        "the LW-DNA network)"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]


def recipes(run: RunFiles) -> list[tuple[str, str]]:
    """Return the recipes as (title, text); one where all steps used the same text."""
    texts = {
        training.folder: training.recipe.strip()
        for training in (run.baseline, run.found)
        if training is not None and training.recipe is not None
    }
    if run.search_recipe is not None:
        texts = {run.search_folder: run.search_recipe.strip()} | texts
    if len(set(texts.values())) == 1:
        return [("Recipe", next(iter(texts.values())))]
    return [(f"Recipe of {folder}", text) for folder, text in texts.items()]


def commands(run: RunFiles) -> list[str]:
    """Return the commands that repeat the run, to be typed in the folder of the run."""
    lines = []
    if run.search_recipe is not None:
        lines.append(f"lwdna shrink {_path(run.search_folder, RECIPE)} --out again/{SEARCH}")
    for training in (run.baseline, run.found):
        if training is None or training.recipe is None:
            continue
        line = f"lwdna train {_path(training.folder, RECIPE)}"
        if training is run.found:
            folder = run.search_folder if run.search is not None else training.folder
            line += f" --architecture {_path(folder, ARCHITECTURE)}"
        name = FOUND if training is run.found else BASELINE
        lines.append(f"{line} --out again/{name}")
    return lines


def about(data: DataRecord | None, input_size: InputSize | None, start: str) -> str:
    """Return what there was to learn from in a few words, ``""`` where nothing is known.

    Args:
        data: numbers of examples and of classes.
        input_size: sizes of the network's inputs.
        start: which trained weights the networks start from; may be empty.
    """
    told = []
    size = only(input_size) if input_size else None
    if data is not None:
        train, val = sum(data.train.counts), sum(data.val.counts)
        what = "image" if size is not None and len(size) == 3 else "example"
        what = what if val == 1 else f"{what}s"
        classes = len(data.val.counts)
        told += [f"{classes} classes"] if classes > 1 else []
        told.append(f"{train:,} training and {val:,} validation {what}")
    if size is not None and told:
        told.append(f"input {describe(size, times=' × ')}")
    if start:
        told.append(f"from the pretrained weights {start}")
    return " · ".join(told)


def start_of(run: RunFiles) -> str:
    """Return which trained weights the networks start from, ``""`` where they are fresh."""
    for training in (run.baseline, run.found):
        if training is not None and training.results is not None:
            start = training.results.figures.get("pretrained")
            if start:
                return str(start)
    found = run.architecture.found if run.architecture is not None else {}
    return str(found.get("pretrained") or "")


def made(text: str | None) -> list[tuple[str, str]]:
    """Return what a recipe sets to other values than the defaults, as (key, text).

    Nothing is said of a recipe that this version, or this installation, does not know.
    """
    try:
        values = values_made(text or "", "the recipe")
    except RecipeError:
        return []
    return [(key, _text(value)) for key, value in values.items()]


def next_command(run: RunFiles, place: Path = Path()) -> str:
    """Return the command that compares over several seeds, ``""`` where no recipe is left.

    Args:
        run: the run.
        place: its folder, as seen from where the command is typed; by default in it.
    """
    for training in (run.baseline, run.found):
        if training is not None and training.recipe is not None:
            recipe, out = (
                shlex.quote((place / name).as_posix())
                for name in (f"{training.folder}/{RECIPE}", "compare")
            )
            return f"lwdna compare {recipe} --seeds 5 --arms baseline,lwdna --out {out}"
    return ""


def machine(run: RunFiles) -> str:
    """Return the machine on which latency and training time were measured, ``""`` if unknown."""
    told = [
        ", ".join(f"{name} {value}" for name, value in flat(training.results.machine, ""))
        for training in (run.baseline, run.found)
        if training is not None and training.results is not None and training.results.machine
    ]
    if len(set(told)) > 1:
        return "different machines, so that times cannot be compared: " + "; ".join(told)
    return told[0] if told else ""


def _training_facts(run: RunFiles) -> Iterator[tuple[str, str]]:
    results = [
        training.results
        for training in (run.baseline, run.found)
        if training is not None and training.results is not None
    ]
    for name in ("epochs", "seed"):
        values = [getattr(result, name) for result in results]
        known = dict.fromkeys(str(value) for value in values if value is not None)
        if known:
            yield (f"training {name}", ", ".join(known))
    for result in results:
        yield from flat(result.versions, "version of")


def _settings(training: TrainingRun) -> Iterator[tuple[str, str]]:
    try:
        recipe = yaml.safe_load(training.recipe or "")
    except yaml.YAMLError as error:
        raise FileError(
            f"the recipe in {training.folder} is not YAML: {' '.join(str(error).split())}; "
            "restore it from the recipe you trained with"
        ) from error
    for name, value in _dotted(recipe if isinstance(recipe, Mapping) else {}, ""):
        if name.split(".")[0] not in _NOT_PROTOCOL:
            yield name, value


def _dotted(value: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, part in value.items():
        name = f"{prefix}{key}"
        if isinstance(part, Mapping) and part:
            yield from _dotted(part, f"{name}.")
        else:
            yield name, _text(part)


def flat(value: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    """Return all values by their full keys, behind ``prefix``, as texts."""
    start = f"{prefix} " if prefix else ""
    return [(start + name, text) for name, text in _dotted(value, "")]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _path(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"
