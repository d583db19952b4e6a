"""``lwdna slim``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lwdna.cli.arguments import PRETRAINED, Data, Model, Pretrained, Quiet, Resume, Trust
from lwdna.cli.export import write_onnx
from lwdna.cli.output import say
from lwdna.errors import RecipeError
from lwdna.run_folder import RECIPE, WEIGHTS, find_weights
from lwdna.run_options import RunOptions
from lwdna.shipped import list_recipes

if TYPE_CHECKING:
    from lwdna.recipe import Recipe

What = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN|WEIGHTS|RECIPE] [KEY=VALUE]...",
        help="A training run's folder or a .safetensors file; or a recipe, whose network is "
        "trained first unless it comes with weights. And values that replace the recipe's.",
        show_default=False,
    ),
]
Part = Annotated[float | None, typer.Option(metavar="FRACTION", help="Part that may be left.")]
RecipeName = Annotated[
    str | None,
    typer.Option("--recipe", help="Data and protocol, where a file of weights has no run."),
]
Onnx = Annotated[
    Path | None, typer.Option("--onnx", metavar="FILE", help="Write the result as ONNX, too.")
]


def slim(
    arguments: What = None,
    macs: Part = None,
    params: Part = None,
    memory: Part = None,
    latency: Part = None,
    recipe: RecipeName = None,
    model: Model = None,
    pretrained: Pretrained = False,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run.")] = None,
    onnx: Onnx = None,
    resume: Resume = False,
    quiet: Quiet = False,
    trust_code: Trust = False,
) -> None:
    """Make a trained network smaller: score, slice, recalibrate, fine-tune with it as teacher.

    Examples:

      lwdna slim runs/baseline --macs 0.5

      lwdna slim runs/baseline --macs 0.5 --params 0.6 --onnx slim.onnx

      lwdna slim model.safetensors --data photos/ --latency 0.7

      lwdna slim --model timm:resnet18 --pretrained --data imagenet/ --macs 0.5

      lwdna slim runs/baseline slim.schedule=iterative slim.protect='[stem*]'
    """
    limits = {"macs": macs, "params": params, "memory": memory, "latency": latency}
    given, changes = _split(arguments or (), limits, pretrained)
    name, chosen, weights, alone = _read(given, changes, recipe, model, data, out, resume)
    from lwdna.cli import options

    folder = options.run_folder(out, f"{name}-slim")
    how = RunOptions(progress=not quiet, trust_code=trust_code, say=say)
    from lwdna.cli import show
    from lwdna.workflows.slim import recipe_of_weights, run_slim

    if onnx is not None:
        from lwdna.interop.onnx import check_packages

        check_packages()  # an error now is better than one after the training
    if weights is not None and alone:
        chosen = recipe_of_weights(weights, chosen)
    with options.resumable("slim", folder):
        record = run_slim(chosen, folder, weights=weights, resume=resume, options=how)
    show.stages(record)
    say(f"run: {folder}")
    say(f"weights: {folder / WEIGHTS}", last=True)
    if onnx is not None:
        write_onnx(folder / WEIGHTS, onnx, trust_code)


def _split(
    arguments: Sequence[str], limits: Mapping[str, float | None], pretrained: bool
) -> tuple[list[str], list[str]]:
    """Return what is to be made smaller, at most one, and what replaces values of the recipe."""
    given = [argument for argument in arguments if "=" not in argument]
    changes = [argument for argument in arguments if "=" in argument]
    if len(given) > 1:
        raise RecipeError(
            f"one network at a time, got {', '.join(given)}; values are given as KEY=VALUE"
        )
    parts = [f"{name}: {part}" for name, part in limits.items() if part is not None]
    if parts:
        changes.append(f"slim.budget={{{', '.join(parts)}}}")
    if pretrained:
        changes.append(PRETRAINED)
    return given, changes


def _read(
    given: Sequence[str],
    changes: Sequence[str],
    recipe: str | None,
    model: str | None,
    data: Path | None,
    out: Path | None,
    resume: bool,
) -> tuple[str, Recipe, Path | None, bool]:
    """Return a short name, the recipe, the file of weights if there is one, and whether that is
    alone: no run whose recipe says what its network is."""
    from lwdna.cli import options

    default = recipe or options.saved_recipe(out, resume)
    place = Path(given[0]) if given else None
    if not (place or default or model or data):
        raise RecipeError(
            "which network? name the folder of a training run, a .safetensors file or a recipe, or "
            "give --model and --data"
        )
    if place is None or not (place.is_dir() or place.suffix == ".safetensors"):
        if place and place.suffix != ".yaml" and place.as_posix() not in list_recipes():
            raise RecipeError(
                f"there is no run or recipe {place}; give the folder of a training run, a "
                ".safetensors file or a recipe (see `lwdna list recipes`)"
            )
        name, chosen = options.read_recipe([*given, *changes], model, data, default)
        return name, chosen, None, False
    if model is not None:
        raise RecipeError(
            f"--model {model} and {place} are two networks; leave out the one or the other"
        )
    weights = find_weights(place)
    own = weights.parent / RECIPE
    alone = recipe is not None or not own.is_file()
    base = default or (None if alone else own)
    _, chosen = options.read_recipe(changes, None, data, base)
    return place.stem if place.is_file() else place.name, chosen, weights, alone
