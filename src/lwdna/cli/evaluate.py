"""``lwdna evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lwdna.cli.arguments import Data, Json, RecipeArgs, Trust
from lwdna.cli.output import note, say, working
from lwdna.errors import RecipeError
from lwdna.files import json_text
from lwdna.run_folder import RECIPE, find_weights
from lwdna.run_options import RunOptions


def evaluate(
    weights: Annotated[Path, typer.Argument(help="A run's folder, or a .safetensors file.")],
    arguments: RecipeArgs = None,
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the figures and for restored images [RUN/evaluation]."),
    ] = None,
    any_classes: Annotated[
        bool,
        typer.Option("--any-classes", help="Compare classes by number, whatever their names."),
    ] = False,
    json_: Json = False,
    trust_code: Trust = False,
) -> None:
    """Measure a trained network on a validation set.

    Examples:

      lwdna evaluate runs/digits/lwdna

      lwdna evaluate model.safetensors recipes/imagenet/resnet50.yaml data.root=/data/imagenet
    """
    from lwdna.cli import options

    file = find_weights(weights)
    own = file.parent / RECIPE
    default = own if own.is_file() else None
    if default is None and all("=" in argument for argument in arguments or ()):
        raise RecipeError(f"which data? name the recipe: lwdna evaluate {weights} RECIPE")
    _, recipe = options.read_recipe(arguments, None, data, default)
    from lwdna.cli import show
    from lwdna.workflows import evaluate_run

    with working("evaluating"):
        chosen = RunOptions(trust_code=trust_code, say=note)
        results = evaluate_run(file, recipe, out, any_classes=any_classes, options=chosen)
    if json_:
        say(json_text({name: one for name, one in results.items() if isinstance(one, float)}))
    else:
        show.results(results)
        show.worst_classes(results)
