"""Arguments and options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Pretrained = Annotated[
    bool,
    typer.Option(
        "--pretrained",
        help="Start from the weights that the network comes with: model.pretrained=true.",
    ),
]
PRETRAINED = "model.pretrained=true"
"""What ``--pretrained`` says in a recipe."""
Trust = Annotated[
    bool, typer.Option("--trust-code", help="Allow a model source that imports Python code.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for everything.", show_default="runs/NAME"),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in the folder --out names.")
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        help="Processes of this machine that share the trials or cells.",
    ),
]
Pin = Annotated[
    list[str] | None,
    typer.Option("--pin", metavar="PATTERN", help="Groups to keep as wide as they are."),
]
Tie = Annotated[
    list[str] | None,
    typer.Option("--tie", metavar="A=B", help="Groups to keep equally wide."),
]
Cut = Annotated[
    list[str] | None,
    typer.Option("--cut", metavar="MODULE[:OP]", help="Operators at which channels end."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
