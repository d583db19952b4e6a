"""``lwdna export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lwdna.cli.arguments import Trust
from lwdna.cli.output import say, working
from lwdna.files import ABANDONED, remove_unfinished
from lwdna.input_size import describe
from lwdna.run_folder import find_weights


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run, or a weights file.")],
    onnx: Annotated[Path, typer.Option("--onnx", metavar="FILE", help="ONNX file to write.")],
    parts: Annotated[
        bool,
        typer.Option(
            "--parts",
            help="Also write the parts that are used in turn, each to FILE-NAME.onnx: of a Siamese "
            "tracker the one for the first frame and the one for all others.",
        ),
    ] = False,
    size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Side of the images in pixels.", show_default="as it was trained with"
        ),
    ] = None,
    trust_code: Trust = False,
) -> None:
    """Write a trained network for other runtimes.

    It takes batches of any size and images of any height and width, unless the network is for one
    size only, which is said then. Names of classes and how images are prepared are in its metadata.

    Example:

      lwdna export runs/lwdna --onnx network.onnx
    """
    write_onnx(find_weights(run), onnx, trust_code, parts, size)


def write_onnx(
    weights: Path, onnx: Path, trust_code: bool, parts: bool = False, side: int | None = None
) -> None:
    """Write the network of a file of weights as ONNX, and its parts if asked for; say where."""
    from lwdna.architecture import load
    from lwdna.interface import read_interface
    from lwdna.interop.onnx import export_onnx, export_parts

    remove_unfinished(onnx.parent, older_than=ABANDONED)
    with working("exporting"):
        network, architecture = load(weights, trust_code=trust_code)
        interface = read_interface(weights)
        if side is not None:
            architecture = architecture.with_side(side, trust_code)
            interface = interface.with_side(side)
        size, types = architecture.input_size, architecture.input_types
        notes = interface.notes()
        fixed = export_onnx(network, size, onnx, types, notes)
        others = export_parts(network, size, onnx, types, notes) if parts else {}
    say(f"ONNX: {onnx}")
    if fixed:
        say(f"note: it takes inputs of {describe(size)} only: {fixed}")
    for file, why in others.items():
        say(f"ONNX: {file}")
        if why:
            say(f"note: it takes images of one size only: {why}")
