"""From a recipe to the objects it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from lwdna.architecture import Architecture, load
from lwdna.channels import ChannelGraph
from lwdna.engine import Task
from lwdna.engine.device import make_accelerator
from lwdna.errors import ArchitectureError, RecipeError
from lwdna.input_size import describe, only
from lwdna.inputs import move, size_of, types_of
from lwdna.model_source import ModelSource, traced
from lwdna.models import resolve_name
from lwdna.recipe import Recipe
from lwdna.reports import format_count
from lwdna.rewriting import rewritten
from lwdna.run_folder import find_weights
from lwdna.run_options import RunOptions
from lwdna.tasks import TASKS
from lwdna.workflows.pretrained import with_weights
from lwdna.workflows.same_data import check_same_classes


def make_task(recipe: Recipe, say: Callable[[str], None] | None = None) -> Task:
    """Open the recipe's data set; ``say`` is told what users should know of it."""
    task = TASKS[recipe.task].make(recipe.data)
    if say is not None:
        if summary := getattr(task, "summary", None):
            say(f"data: {summary}")
        for note in getattr(task, "notes", ()):
            say(f"note: {note}")
    return task


def make_source(recipe: Recipe, task: Task) -> ModelSource:
    """Return how to make the recipe's baseline, for its data."""
    name = resolve_name(recipe.model.name)
    args = task.model_args(name.partition(":")[0]) | recipe.model.args
    return ModelSource(name=name, args=args, transforms=recipe.model.transforms)


def make_baseline(
    recipe: Recipe, source: ModelSource, trust_code: bool, *, trained: bool = False
) -> nn.Module:
    """Build the baseline with weights that follow from the recipe's seed, or trained ones."""
    with seeded(recipe.seed):
        if trained:
            return with_weights(source, recipe.model.pretrained, trust_code)
        return source.create(trust_code)


def traced_baseline(recipe: Recipe, task: Task, trust_code: bool) -> tuple[nn.Module, ChannelGraph]:
    """Return the recipe's baseline for a task, on this process's device, and its graph."""
    device, source = make_accelerator("no").device, make_source(recipe, task)
    model = make_baseline(recipe, source, trust_code).to(device)
    return model, traced(model, move(task.example_inputs(), device), recipe.edits, source)


def baseline_architecture(recipe: Recipe, task: Task, trust_code: bool) -> Architecture:
    """Return the architecture of the recipe's unchanged baseline."""
    inputs = task.example_inputs()
    return Architecture.of_baseline(
        make_source(recipe, task), size_of(inputs), trust_code, recipe.edits, types_of(inputs)
    )


def load_for_recipe(
    weights: Path, recipe: Recipe, task: Task, options: RunOptions
) -> tuple[nn.Module, Architecture]:
    """Return a trained network of the recipe's network, and its architecture.

    Where the recipe names further transforms than the network was trained with, they are applied
    to it now: ``factorize`` then decomposes trained weights.

    Raises:
        CheckpointError: the file is damaged.
        ArchitectureError: it is of another network, or for other data.
        ModelError: a transform cannot be applied.
    """
    network, architecture = load(weights, trust_code=options.trust_code)
    given, wanted = architecture.model, make_source(recipe, task)
    if given is not None and (given.name, given.args) == (wanted.name, wanted.args):
        done = len(given.transforms)
        if given.transforms == wanted.transforms[:done] != wanted.transforms:
            more = wanted.transforms[done:]
            network, architecture = rewritten(
                network, architecture, more, options.trust_code, recipe.edits
            )
    return network, fit_to_recipe(architecture, recipe, task, options)


def fit_to_recipe(
    architecture: Architecture, recipe: Recipe, task: Task, options: RunOptions
) -> Architecture:
    """Return an architecture for inputs of the recipe's size.

    Args:
        architecture: of the recipe's network, perhaps found at another size.
        recipe: what it has to come from.
        task: the recipe's, whose data it has to fit.
        options: trust; told if costs are others than in the file.

    Raises:
        ArchitectureError: it is of another network, or for other data; what differs is said.
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
    if given.transforms != wanted.transforms:
        raise ArchitectureError(
            f"the architecture's network was transformed by {_listed(given)}, the recipe's by "
            f"{_listed(wanted)}; use the recipe of the search (model.transforms), or search with "
            "this one"
        )
    return fit_to_data(architecture, task, "the architecture", options)


def fit_to_data(
    architecture: Architecture, task: Task, what: str, options: RunOptions
) -> Architecture:
    """Return an architecture for inputs of the size that a task gives.

    A network that takes single images takes others than it was found at, if it runs on them.

    Args:
        architecture: of any network.
        task: the data it has to fit.
        what: what errors and notes call it.
        options: trust; told if costs are others than in the file.

    Raises:
        ArchitectureError: it is for other data; what differs is said.
    """
    check_fits_data(architecture, task, what)
    inputs = task.example_inputs()
    size, types = size_of(inputs), types_of(inputs)
    if (architecture.input_size, architecture.input_types) == (size, types):
        return architecture
    before = describe(architecture.input_size, architecture.input_types)
    if architecture.input_types != types or only(architecture.input_size) is None:
        raise ArchitectureError(
            f"{what} was made for inputs of {before}, the recipe gives {describe(size, types)}; "
            "use the recipe of the search, or search with this one"
        )
    fitting = architecture.at_size(size, options.trust_code)
    share = fitting.cost.macs / max(fitting.baseline.macs, 1)
    options.say(
        f"note: {what} was made for inputs of {before}; of {describe(size)} it costs "
        f"{format_count(fitting.cost.macs, 'MACs')}, {share:.3g} of the baseline's"
    )
    return fitting


def check_fits_data(architecture: Architecture, task: Task, what: str) -> None:
    """Make sure that a network is for the data of a task, whatever the size of its inputs.

    Raises:
        ArchitectureError: saying what differs; ``what`` names the network.
    """
    args = architecture.model.args if architecture.model else {}
    fault = task.misfit(args, architecture.input_size)
    if fault is not None:
        raise ArchitectureError(f"{what} {fault}")


def _listed(source: ModelSource) -> str:
    return ", ".join(map(str, source.transforms)) or "nothing"


def make_teacher(name: str, task: Task, baseline: Path | None, options: RunOptions) -> nn.Module:
    """Return the trained network that ``distill.teacher`` names.

    Args:
        name: a run's folder, a file of weights, a network's name, or "baseline".
        task: what the network is for.
        baseline: the file of the trained baseline, if there is one.
        options: trust; told if the network does not name its classes.

    Raises:
        RecipeError: the baseline is wanted and was not given.
        ArchitectureError: the network is not for these data.
    """
    if name == "baseline":
        if baseline is None:
            raise RecipeError(
                "which baseline? `lwdna train` does not know where it was trained; name its "
                "folder: distill.teacher=runs/baseline"
            )
        return load(baseline, trust_code=options.trust_code)[0]
    if ":" in name and not Path(name).exists():
        full = resolve_name(name)
        args = task.model_args(full.partition(":")[0])
        return with_weights(ModelSource(name=full, args=args), True, options.trust_code)
    weights = find_weights(name)
    network, architecture = load(weights, trust_code=options.trust_code)
    fit_to_data(architecture, task, f"the teacher {name}", options)
    check_same_classes(weights, task, f"the teacher {name}", options)
    return network


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator inside the block and restore it afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
