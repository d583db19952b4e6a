"""``lwdna export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lwdna.cli.arguments import Trust
from lwdna.cli.output import say, working
from lwdna.files import ABANDONED, remove_unfinished
from lwdna.run_folder import find_weights


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run, or a weights file.")],
    onnx: Annotated[Path, typer.Option("--onnx", metavar="FILE", help="ONNX file to write.")],
    trust_code: Trust = False,
) -> None:
    """Write a trained network for other runtimes.

    Example:

      lwdna export runs/lwdna --onnx network.onnx
    """
    weights = find_weights(run)
    from lwdna.architecture import load
    from lwdna.interop.onnx import export_onnx

    remove_unfinished(onnx.parent, older_than=ABANDONED)
    with working("exporting"):
        network, architecture = load(weights, trust_code=trust_code)
        export_onnx(network, architecture.input_size, onnx, architecture.input_types)
    say(f"ONNX: {onnx}")
