"""From a recipe to the objects it names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lwdna.architecture import Architecture, ModelSource
from lwdna.errors import ArchitectureError
from lwdna.models import resolve_name
from lwdna.recipe import Recipe
from lwdna.tasks.classification import ClassificationTask


def make_task(recipe: Recipe) -> ClassificationTask:
    """Open the recipe's data set."""
    return ClassificationTask(recipe.data)


def make_source(recipe: Recipe, task: ClassificationTask) -> ModelSource:
    """Return how to make the recipe's baseline, for the data's classes and image channels."""
    name = resolve_name(recipe.model.name)
    args = {"num_classes": task.num_classes, **recipe.model.args}
    # torchvision's networks, and most of the users' own, know colour images only and no such word
    if task.in_chans != 3 or name.startswith(("lwdna:", "timm:")):
        args.setdefault("in_chans", task.in_chans)
    return ModelSource(name=name, args=args)


def make_baseline(recipe: Recipe, source: ModelSource, trust_code: bool) -> nn.Module:
    """Build the baseline with weights that follow from the recipe's seed."""
    with seeded(recipe.seed):
        return source.create(trust_code)


def baseline_architecture(
    recipe: Recipe, task: ClassificationTask, trust_code: bool
) -> Architecture:
    """Return the architecture of the recipe's unchanged baseline."""
    size = tuple(task.example_inputs().shape[1:])
    return Architecture.of_baseline(make_source(recipe, task), size, trust_code)


def check_for_recipe(architecture: Architecture, recipe: Recipe, task: ClassificationTask) -> None:
    """Make sure that an architecture comes from the recipe's network and fits its data.

    Raises:
        ArchitectureError: saying what differs.
    """
    check_fits_data(architecture, task, "the architecture")
    wanted = make_source(recipe, task)
    given = architecture.model
    if given is None:
        raise ArchitectureError(
            "the architecture does not say how to make its baseline; search with a network's name"
        )
    if given.name != wanted.name:
        raise ArchitectureError(
            f"the architecture is of {given.name}, the recipe's network is {wanted.name}; "
            f"train with --model {given.name}, or search with this recipe"
        )
    for key in dict.fromkeys([*given.args, *wanted.args]):
        if given.args.get(key) != wanted.args.get(key):
            raise ArchitectureError(
                f"the architecture was made with {key}={given.args.get(key)}, the recipe says "
                f"{wanted.args.get(key)}; use the recipe of the search, or search with this one"
            )
    size = tuple(task.example_inputs().shape[1:])
    if architecture.input_size != size:
        raise ArchitectureError(
            f"the architecture was made for images of {_times(architecture.input_size)}, the "
            f"recipe gives {_times(size)}; set data.image_size, or search with this recipe"
        )


def check_fits_data(architecture: Architecture, task: ClassificationTask, what: str) -> None:
    """Make sure that a network takes the images of a data set and tells its classes apart.

    Raises:
        ArchitectureError: saying what differs; ``what`` names the network.
    """
    classes = architecture.model.args.get("num_classes") if architecture.model else None
    if classes is not None and classes != task.num_classes:
        raise ArchitectureError(
            f"{what} tells {classes} classes apart, the data set has {task.num_classes}; use the "
            "recipe (and data) it was made with, or search with this one"
        )
    channels = architecture.input_size[0]
    if channels != task.in_chans:
        raise ArchitectureError(
            f"{what} takes images of {channels} channels, the recipe gives {task.in_chans}; "
            f"set data.in_chans={channels}"
        )


def _times(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator inside the block and restore it afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
