"""``lwdna report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lwdna.cli.output import say


def report(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder of a job, search, training, slim run, sensitivity analysis or comparison."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="RUN/report.html")
    ] = None,
    half: Annotated[
        str, typer.Option(help="Of a comparison: figures of the whole, choose or report half.")
    ] = "whole",
) -> None:
    """Write report.html from the files of a run.

    Example:

      lwdna report runs/digits

      lwdna report runs/study --half report
    """
    from lwdna.reports import write_report

    say(f"report: {write_report(run, out, half)}")
