"""From a recipe to the objects it names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lwdna.architecture import Architecture, ModelSource
from lwdna.channels import trace
from lwdna.models import resolve_name
from lwdna.recipe import Recipe
from lwdna.tasks.classification import ClassificationTask


def make_task(recipe: Recipe) -> ClassificationTask:
    """Open the recipe's data set."""
    return ClassificationTask(recipe.data)


def make_source(recipe: Recipe, task: ClassificationTask) -> ModelSource:
    """Return how to make the recipe's baseline, with as many classes as the data has."""
    args = {"num_classes": task.num_classes, **recipe.model.args}
    if task.in_chans != 3:
        args.setdefault("in_chans", task.in_chans)
    return ModelSource(name=resolve_name(recipe.model.name), args=args)


def make_baseline(recipe: Recipe, source: ModelSource, trust_code: bool) -> nn.Module:
    """Build the baseline with weights that follow from the recipe's seed."""
    with seeded(recipe.seed):
        return source.create(trust_code)


def baseline_architecture(
    recipe: Recipe, task: ClassificationTask, trust_code: bool
) -> Architecture:
    """Return the architecture of the recipe's unchanged baseline."""
    source = make_source(recipe, task)
    inputs = task.example_inputs()
    graph = trace(make_baseline(recipe, source, trust_code), inputs)
    return Architecture.of(graph, tuple(inputs.shape[1:]), source)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator inside the block and restore it afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
