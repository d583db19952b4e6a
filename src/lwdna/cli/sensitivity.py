"""``lwdna sensitivity``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lwdna.cli.arguments import Data, Json, Quiet, RecipeArgs, Trust
from lwdna.cli.output import note, say
from lwdna.errors import RecipeError
from lwdna.files import json_text
from lwdna.run_folder import RECIPE, SENSITIVITY, find_weights
from lwdna.run_options import RunOptions

if TYPE_CHECKING:
    from lwdna.methods.sensitivity.settings import SensitivitySettings


def sensitivity(
    weights: Annotated[Path, typer.Argument(help="A run's folder, or a .safetensors file.")],
    arguments: RecipeArgs = None,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the figures and the page [RUN/sensitivity].")
    ] = None,
    shares: Annotated[
        str, typer.Option(help="Shares of a group's units that stay.")
    ] = "3/4,1/2,1/4,1/8",
    images: Annotated[
        int | None, typer.Option(min=1, help="Validation images to measure on [all].")
    ] = None,
    criterion: Annotated[
        str, typer.Option(help="How units are scored, see `lwdna list criteria`.")
    ] = "snip",
    batches: Annotated[
        int, typer.Option(min=1, help="Training batches for the statistics of normalisation.")
    ] = 8,
    resume: Annotated[
        bool, typer.Option("--resume", help="There must be an analysis to go on with.")
    ] = False,
    json_: Json = False,
    quiet: Quiet = False,
    trust_code: Trust = False,
) -> None:
    """Show what each layer of a trained network can lose.

    One group of coupled channels at a time keeps only a share of its units; batch normalisation is
    recalibrated, nothing is trained. An analysis that was stopped goes on when the command is
    given again.

    Examples:

      lwdna sensitivity runs/digits/baseline

      lwdna sensitivity runs/resnet50 --images 5000 --shares 1/2,1/4
    """
    from lwdna.cli import options

    file = find_weights(weights)
    own = file.parent / RECIPE
    default = own if own.is_file() else None
    if default is None and all("=" in argument for argument in arguments or ()):
        raise RecipeError(f"which data? name the recipe: lwdna sensitivity {weights} RECIPE")
    settings = _settings(read_shares(shares), images, criterion, batches)
    _, recipe = options.read_recipe(arguments, None, data, default)
    from lwdna.workflows import run_sensitivity

    folder = out or file.parent / SENSITIVITY
    chosen = RunOptions(progress=not quiet, trust_code=trust_code, say=note)
    try:
        found = run_sensitivity(file, recipe, folder, settings, resume=resume, options=chosen)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("stopped; the same command goes on after the last group") from stop
    _show(found, folder, json_)


def _show(found: Mapping[str, Any], folder: Path, as_json: bool) -> None:
    """Write the page, and print the table or JSON."""
    from lwdna.cli import show
    from lwdna.reports import read_sensitivity, write_report

    page = write_report(folder)
    if as_json:
        say(json_text(found), last=True)
    else:
        show.sensitivity(read_sensitivity(folder))
        say(f"report: {page}", last=True)


def read_shares(text: str) -> tuple[float, ...]:
    """Return shares from text such as ``"3/4,0.5,25%"``.

    Raises:
        RecipeError: a part of it is no number.
    """
    return tuple(_share(part.strip()) for part in text.split(",") if part.strip())


def _share(text: str) -> float:
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        above, _, below = text.partition("/")
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise RecipeError(
            f"cannot read the share {text!r}; give numbers between 0 and 1, for example "
            "--shares 3/4,1/2 or 0.75,0.5"
        ) from error


def _settings(
    shares: tuple[float, ...], images: int | None, criterion: str, batches: int
) -> SensitivitySettings:
    from pydantic import ValidationError

    from lwdna.methods.sensitivity.settings import SensitivitySettings

    try:
        return SensitivitySettings(
            shares=shares, images=images, criterion=criterion, batches=batches
        )
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise RecipeError(why) from error
