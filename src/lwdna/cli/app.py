"""Commands of ``lwdna``; each is a thin layer over a function of :mod:`lwdna.workflows`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lwdna.cli import show
from lwdna.cli.options import read_recipe, split_arguments
from lwdna.engine import TrainingInterrupted
from lwdna.errors import LwdnaError, RecipeError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Find how many channels each layer of a convolutional network should have.",
)

RecipeArgs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE] [KEY=VALUE]...",
        help="A recipe (file or name, see `lwdna list recipes`) and values that replace its own.",
        show_default=False,
    ),
]
Model = Annotated[str | None, typer.Option("--model", help="Network: replaces model.name.")]
Data = Annotated[Path | None, typer.Option("--data", help="Data folder: replaces data.root.")]
Trust = Annotated[
    bool, typer.Option("--trust-code", help="Allow a model source that imports Python code.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where this run was stopped.")]


@app.command()
def quickstart(
    arguments: RecipeArgs = None,
    model: Model = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for everything [runs/NAME].")] = None,
    resume: Resume = False,
    trust_code: Trust = False,
) -> None:
    """Search, train baseline and result, compare, write a report.

    Without arguments: a small network on handwritten digits, about a minute on a CPU.

    Examples:

      lwdna quickstart

      lwdna quickstart --model timm:resnet18 --data photos/ train.epochs=20

      lwdna quickstart recipes/cifar100/resnet20-short.yaml data.root=cifar100/
    """
    from lwdna.workflows import run_job

    name, recipe = read_recipe(arguments, model, data, default="images" if data else "digits")
    folder = out or show.free_folder(Path("runs"), name)
    report = run_job(
        recipe, folder, resume=resume, progress=True, trust_code=trust_code, say=show.say
    )
    show.comparison(folder)
    show.say(f"report: {report}")


@app.command()
def shrink(
    arguments: RecipeArgs = None,
    model: Model = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the search.")] = None,
    trust_code: Trust = False,
) -> None:
    """Find the widths of a better network; write an architecture file.

    Example:

      lwdna shrink recipes/imagenet/resnet50.yaml data.root=/data/imagenet --out runs/search
    """
    from lwdna.workflows import SEARCH_FILES, run_search

    name, recipe = read_recipe(arguments, model, data)
    folder = out or show.free_folder(Path("runs"), f"{name}-search")
    with show.working("searching for the width of every layer"):
        found = run_search(recipe, folder, trust_code=trust_code)
    show.search(found)
    show.say(f"architecture: {folder / SEARCH_FILES[0]}")


@app.command()
def train(
    arguments: RecipeArgs = None,
    architecture: Annotated[
        Path | None,
        typer.Option(help="Network found by `lwdna shrink`; without it the baseline is trained."),
    ] = None,
    model: Model = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run.")] = None,
    resume: Resume = False,
    trust_code: Trust = False,
) -> None:
    """Train the baseline of a recipe, or a network found for it, with the same protocol.

    Examples:

      lwdna train recipes/digits.yaml --out runs/baseline

      lwdna train recipes/digits.yaml --architecture runs/search/architecture.lwdna.json

      accelerate launch --multi_gpu -m lwdna train recipes/imagenet/resnet50.yaml --out runs/r50
    """
    from lwdna.architecture import Architecture
    from lwdna.workflows import run_training

    name, recipe = read_recipe(arguments, model, data)
    arm = "lwdna" if architecture else "baseline"
    if out is None and (resume or "RANK" in os.environ):
        raise RecipeError("name the folder of the run: --out runs/NAME")
    folder = out or show.free_folder(Path("runs"), f"{name}-{arm}")
    results = run_training(
        recipe,
        folder,
        name=arm,
        architecture=Architecture.load(architecture) if architecture else None,
        resume=resume,
        progress=True,
        trust_code=trust_code,
    )
    show.results(results)
    show.say(f"run: {folder}")


@app.command()
def evaluate(
    weights: Annotated[Path, typer.Argument(help="A run's folder, or a .safetensors file.")],
    arguments: RecipeArgs = None,
    data: Data = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    trust_code: Trust = False,
) -> None:
    """Measure a trained network on a validation set.

    Examples:

      lwdna evaluate runs/digits/lwdna

      lwdna evaluate model.safetensors recipes/imagenet/resnet50.yaml data.root=/data/imagenet
    """
    from lwdna.workflows import evaluate_run

    recipe_file = weights / "recipe.yaml" if weights.is_dir() else None
    file = weights / "model.safetensors" if weights.is_dir() else weights
    named, _ = split_arguments(arguments)
    if named is None and recipe_file is None:
        raise RecipeError("which data? name the recipe: lwdna evaluate model.safetensors RECIPE")
    _, recipe = read_recipe(arguments, None, data, default=str(recipe_file))
    metrics = evaluate_run(file, recipe, trust_code=trust_code)
    if json_:
        typer.echo(json.dumps(metrics))
    else:
        show.results(metrics)


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="A network's name or an architecture file.")],
    size: Annotated[int, typer.Option(help="Side of the input image in pixels.")] = 224,
    channels: Annotated[int, typer.Option(help="Channels of the input image.")] = 3,
    details: Annotated[bool, typer.Option("--details", help="List members and pins.")] = False,
    trust_code: Trust = False,
) -> None:
    """Show the groups of channels of a network, what they cost and what is pinned.

    Examples:

      lwdna inspect timm:resnet50

      lwdna inspect runs/digits/search/architecture.lwdna.json --details
    """
    import torch

    from lwdna.architecture import Architecture
    from lwdna.channels import trace
    from lwdna.models import create_model

    if model.endswith((".json", ".safetensors")):
        architecture = Architecture.load(Path(model))
        network = architecture.build(trust_code=trust_code)
        inputs = torch.zeros(1, *architecture.input_size)
    else:
        network = create_model(model, **({"trust_code": True} if trust_code else {}))
        inputs = torch.zeros(1, channels, size, size)
    graph = trace(network, inputs)
    if details:
        typer.echo(graph.report())
    show.graph(graph, model)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a job, a search or a training run.")],
    out: Annotated[Path | None, typer.Option(help="File to write [RUN/report.html].")] = None,
) -> None:
    """Write report.html from the files of a run.

    Example:

      lwdna report runs/digits
    """
    from lwdna.reports import write_report

    show.say(f"report: {write_report(run, out)}")


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="models, recipes or ops.")] = "models",
    pattern: Annotated[str, typer.Argument(help="Shell pattern, quoted.")] = "*",
) -> None:
    """List networks, recipes, or operators with a rule.

    Examples:

      lwdna list models '*resnet50*'

      lwdna list recipes
    """
    from fnmatch import fnmatch

    from lwdna.channels.rules import RULES
    from lwdna.models import list_models
    from lwdna.recipe import list_recipes

    if what == "models":
        names = list_models(pattern)
    elif what == "recipes":
        names = [name for name in list_recipes() if fnmatch(name, pattern)]
    elif what == "ops":
        names = [f"{n}  {RULES[n].__module__}.{RULES[n].__name__}" for n in sorted(RULES)]
        names = [name for name in names if fnmatch(name.split()[0], pattern)]
    else:
        raise RecipeError(f"cannot list {what!r}; use models, recipes or ops")
    typer.echo("\n".join(names))


def main() -> None:
    """Run the command line; errors a user can mend are one line, without a traceback."""
    try:
        app()
    except TrainingInterrupted as stop:
        show.error(f"{stop} (--resume)")
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except LwdnaError as error:
        show.error(str(error))
        sys.exit(1)
