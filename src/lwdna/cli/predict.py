"""``lwdna predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lwdna.cli.arguments import Json, Trust
from lwdna.cli.output import console, note, say, working
from lwdna.errors import DataError
from lwdna.files import json_text
from lwdna.run_folder import find_weights
from lwdna.run_options import RunOptions

if TYPE_CHECKING:
    from lwdna.workflows.predict import Prediction


def predict(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    weights: Annotated[
        Path, typer.Option(help="A run's folder, or a .safetensors file of a network.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes to name, the most probable first.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 32,
    json_: Json = False,
    trust_code: Trust = False,
) -> None:
    """Tell the classes of images with a trained network.

    Images are prepared as in validation, whatever their size; what that means is in the file of
    weights. Folders stand for all images below them. An image that cannot be read is named, and
    the command fails after all others.

    Examples:

      lwdna predict cat.jpg --weights runs/images/lwdna --top 5

      lwdna predict photos/ --weights model.safetensors --json
    """
    file = find_weights(weights)
    from lwdna.interface import read_interface

    read_interface(file)  # damage is said before torch is imported
    from lwdna import workflows

    with working("predicting"):
        options = RunOptions(trust_code=trust_code)
        found = workflows.predict(file, images, top=top, batch_size=batch_size, options=options)
    if json_:
        say(json_text([_entry(one) for one in found], indent=2))
    else:
        _show(found)
    _report_faults([one.fault for one in found if one.fault], len(found))


def _show(found: Sequence[Prediction]) -> None:
    """Print a table of what images show, the most probable class of each first."""
    from rich.markup import escape
    from rich.table import Table

    if any(one.values for one in found):
        _show_values(found)
        return
    table = Table()
    for heading in ("image", "class"):
        table.add_column(heading, overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    for one in found:
        for place, guess in enumerate(one.guesses):
            name = "" if place else escape(str(one.image))
            table.add_row(name, escape(guess.label), f"{guess.probability:.1%}")
    if table.rows:
        console().print(table)


def _show_values(found: Sequence[Prediction]) -> None:
    """Print a table of the values of images."""
    from rich.markup import escape
    from rich.table import Table

    names = next([value.name for value in one.values] for one in found if one.values)
    table = Table()
    table.add_column("image", overflow="fold")
    for name in names:
        table.add_column(escape(name), justify="right", no_wrap=True)
    for one in found:
        if one.values:
            table.add_row(escape(str(one.image)), *(f"{value.value:.5g}" for value in one.values))
    console().print(table)


def _entry(one: Prediction) -> dict[str, Any]:
    """Return what JSON says of an image."""
    if one.fault:
        return {"image": str(one.image), "error": one.fault}
    if one.values:
        values = {value.name: value.value for value in one.values}
        return {"image": str(one.image), "values": values}
    guesses = [
        {"class": guess.label, "index": guess.index, "probability": guess.probability}
        for guess in one.guesses
    ]
    return {"image": str(one.image), "predictions": guesses}


def _report_faults(faults: Sequence[str], images: int) -> None:
    """Name what could not be read, and fail, if there is anything."""
    if not faults:
        return
    if images == 1:
        raise DataError(faults[0])
    for fault in faults:
        note(f"failed: {fault}")
    raise DataError(f"{len(faults)} of {images} images could not be read; they are named above")
