"""The trained weights that baseline and network found both start from (``model.pretrained``)."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lwdna.architecture import ModelSource
from lwdna.engine.trackers import check_trackers
from lwdna.interop.state_dicts import read_state_dict
from lwdna.models import resolve_name
from lwdna.models.pretrained import check_reachable, load_start, published_weights
from lwdna.recipe import Recipe
from lwdna.run_folder import find_weights
from lwdna.transforms import rewrite

PRETRAINED = "pretrained"
"""The argument by which timm and torchvision give a network its published weights."""


def start_of(recipe: Recipe) -> str | None:
    """Return which weights both networks of a recipe start from; None if from fresh ones.

    Raises:
        ModelError: the recipe's network comes without weights.
        CheckpointError: the file that the recipe names is missing.
    """
    given, name = recipe.model.pretrained, resolve_name(recipe.model.name)
    if not given:
        return None
    if isinstance(given, str):
        return str(find_weights(given))
    if _is_code(name):
        return name
    return published_weights(name, recipe.model.args).name


def check_start(recipe: Recipe) -> None:
    """Make sure that all that a recipe needs from elsewhere can be had, before work begins.

    Raises:
        ModelError: they are not on this machine and their server does not answer, or the network
            comes without weights.
        CheckpointError: the file that the recipe names is missing.
        TrainingError: the package of a tracker is not installed.
    """
    check_trackers(recipe.train.trackers)
    if recipe.model.pretrained is True:
        _check_published(recipe.model.name, recipe)
    start_of(recipe)
    teacher = recipe.distill.teacher if recipe.distill else ""
    if ":" in teacher and not Path(teacher).exists():
        _check_published(teacher, None)


def _check_published(name: str, recipe: Recipe | None) -> None:
    full = resolve_name(name)
    if not _is_code(full):
        check_reachable(full, published_weights(full, recipe.model.args if recipe else {}))


def _is_code(name: str) -> bool:
    """Whether a network is of Python code, whose own function takes ``pretrained``."""
    return name.startswith("python:")


def with_weights(source: ModelSource, start: bool | str, trust_code: bool) -> nn.Module:
    """Return a network with trained weights, transforms included.

    Args:
        source: how to make it.
        start: a file or a run; True is what timm or torchvision publish.
        trust_code: allow sources that import Python code.

    Raises:
        ModelError: it cannot be made so.
        CheckpointError: the file is of another network.
    """
    if not isinstance(start, str):
        args = {**source.args, PRETRAINED: True}
        return source.model_copy(update={"args": args}).create(trust_code)
    network = source.model_copy(update={"transforms": ()}).create(trust_code)
    file = find_weights(start)
    load_start(network, read_state_dict(file), file)
    return rewrite(network, source.transforms)
