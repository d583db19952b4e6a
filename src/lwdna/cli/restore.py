"""``lwdna restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lwdna.cli.arguments import Trust
from lwdna.cli.output import say, working
from lwdna.run_folder import find_weights
from lwdna.run_options import RunOptions


def restore(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    weights: Annotated[
        Path, typer.Option(help="A run's folder, or a .safetensors file of a network.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("restored"),
    tile: Annotated[
        int, typer.Option(min=32, help="Larger images are restored in tiles of this side.")
    ] = 512,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average over eight mirrored and turned images.")
    ] = False,
    trust_code: Trust = False,
) -> None:
    """Enlarge or denoise images with a trained network; write them as PNG.

    Examples:

      lwdna restore photo.jpg --weights runs/edsr/lwdna

      lwdna restore scans/ --weights dncnn.safetensors --out clean/
    """
    file = find_weights(weights)
    from lwdna.workflows import restore_images

    with working("restoring"):
        restore_images(
            file,
            images,
            out,
            tile=tile,
            ensemble=ensemble,
            options=RunOptions(trust_code=trust_code, say=say),
        )
