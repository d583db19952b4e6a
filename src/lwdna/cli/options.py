"""What the commands share: reading a recipe with overrides, choosing a folder."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from lwdna.channels.graph.edits import Edits
from lwdna.cli.arguments import PRETRAINED
from lwdna.cli.output import note, say
from lwdna.cli.places import address_of
from lwdna.engine import TrainingInterrupted
from lwdna.errors import RecipeError
from lwdna.models import resolve_name
from lwdna.run_folder import LOCK, RECIPE, is_free
from lwdna.run_options import LOCAL, RunOptions

if TYPE_CHECKING:
    from lwdna.recipe import Recipe


def read_recipe(
    arguments: Sequence[str] | None,
    model: str | None,
    data: str | None,
    default: str | Path | None = None,
    pretrained: bool = False,
) -> tuple[str, Recipe]:
    """Return the recipe's short name and the recipe with all overrides.

    Args:
        arguments: at most one recipe, and overrides (the arguments with an equals sign).
        model: replaces ``model.name``.
        data: replaces ``data.root``.
        default: the recipe if none is named. Without one, ``data`` means image folders.
        pretrained: sets ``model.pretrained``, unless an override names weights.

    Raises:
        RecipeError: there is no such recipe, or it is faulty.
        ModelError: there is no such network.
    """
    from lwdna.recipe import load_recipe

    recipes = [argument for argument in arguments or () if "=" not in argument]
    overrides = [argument for argument in arguments or () if "=" in argument]
    if len(recipes) > 1:
        raise RecipeError(
            f"one recipe at a time, got {', '.join(recipes)}; values are given as KEY=VALUE"
        )
    named = recipes[0] if recipes else default or ("images" if data else None)
    if named is None:
        raise RecipeError("name a recipe (see `lwdna list recipes`), or give --model and --data")
    if model is not None:
        overrides.append(f"model.name={_quoted(model)}")
    if data is not None:
        overrides.append(f"data.root={_quoted(data)}")
    if pretrained and not any(one.startswith("model.pretrained=") for one in overrides):
        overrides.append(PRETRAINED)
    recipe = load_recipe(named, overrides)
    for line in recipe.train.notes:
        note(f"note: {line}")
    resolve_name(recipe.model.name)  # an error now is better than one after torch is imported
    return Path(named).stem, recipe


def check_network(name: str) -> None:
    """Make sure that there is a network of this name, if it is not that of a file.

    Raises:
        ModelError: there is none.
    """
    if not name.endswith((".json", ".safetensors")) and not Path(name).exists():
        resolve_name(name)


def read_edits(
    pin: Sequence[str] | None, tie: Sequence[str] | None, cut: Sequence[str] | None
) -> Edits | None:
    """Return decisions by hand; a tie is ``"a=b"``. None where nothing is given."""
    ties = tuple(tuple(text.split("=")) for text in tie or ())
    return Edits(pin=tuple(pin or ()), tie=ties, cut=tuple(cut or ())) or None


def saved_recipe(out: Path | None, resume: bool) -> Path | None:
    """Return the recipe in the folder of a run that is to be resumed.

    Raises:
        RecipeError: no folder was named, so that there is nothing to go on with.
    """
    if not resume:
        return None
    if out is None:
        raise RecipeError("which run? name its folder: --resume --out runs/NAME")
    recipe = out / RECIPE
    return recipe if recipe.is_file() else None


def read_shard(text: str) -> tuple[int, int]:
    """Return ``(i, n)`` from ``"i/n"``.

    Raises:
        RecipeError: it is not of that form, or i is not one of 1 to n.
    """
    number, _, count = text.partition("/")
    if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    raise RecipeError(f"cannot read --shard {text}: write I/N with I from 1 to N, for example 2/4")


def run_folder(out: Path | None, name: str) -> Path:
    """Return ``out``, or a folder in ``runs/`` where nothing was done yet and nobody is at work.

    Raises:
        RecipeError: several processes would have to agree on a name.
    """
    if out is not None:
        return out
    if "RANK" in os.environ:
        raise RecipeError("several processes need to know the folder: name it with --out runs/NAME")
    candidate, count = Path("runs") / name, 1
    while not is_free(candidate) or (candidate / LOCK).exists():
        count += 1
        candidate = Path("runs") / f"{name}-{count}"
    return candidate


def run_options(
    quiet: bool, trust_code: bool, jobs: int, executor: str, gpus_per_task: float | None
) -> RunOptions:
    """Return how a run of the command line is carried out.

    Raises:
        RecipeError: there is no such executor, or options contradict each other.
    """
    return RunOptions(
        progress=not quiet,
        trust_code=trust_code,
        say=say,
        jobs=jobs,
        executor=executor,
        gpus_per_task=gpus_per_task,
    )


@contextmanager
def resumable(verb: str, folder: Path, run: RunOptions = RunOptions()) -> Iterator[None]:
    """Say which command goes on, where training inside is interrupted after saving."""
    try:
        yield
    except TrainingInterrupted as stop:
        command = f"lwdna {verb} --resume --out {shlex.quote(address_of(folder))}"
        if run.executor != LOCAL:
            command += f" --executor {run.executor}"
        if run.gpus_per_task is not None:
            command += f" --gpus-per-task {run.gpus_per_task:g}"
        raise TrainingInterrupted(f"{stop}: {command}") from stop


def _quoted(text: str) -> str:
    """Return ``text`` as a YAML string, whatever it looks like."""
    return yaml.safe_dump(text, default_style='"').strip()
