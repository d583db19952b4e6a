"""Arguments and options that commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from lwdna.cli.output import hush


def complete_recipes(incomplete: str) -> list[str]:
    """Return the recipes that a shell may complete to."""
    from lwdna.shipped import list_recipes

    return [name for name in list_recipes() if name.startswith(incomplete)]


def complete_models(incomplete: str) -> list[str]:
    """Return the networks that a shell may complete to, with their source or without it."""
    from lwdna.models import list_models

    names = list_models()
    if ":" not in incomplete:
        names = [*dict.fromkeys(name.partition(":")[2] for name in names), *names]
    return [name for name in names if name.startswith(incomplete)]


RecipeArgs = Annotated[
    list[str] | None,
    typer.Argument(
        autocompletion=complete_recipes,
        metavar="[RECIPE] [KEY=VALUE]...",
        help="A recipe (file or name, see `lwdna list recipes`) and values that replace its own.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Network: replaces model.name.", autocompletion=complete_models),
]
Data = Annotated[
    str | None,
    typer.Option("--data", help="Data folder, or its address (s3://...): replaces data.root."),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        help="Folder, or its address in a storage (s3://...).",
        show_default="runs/NAME",
    ),
]
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
Executor = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="NAME",
        help="Who does trials or cells: local, ray, ray://HOST:PORT or slurm (docs/cluster.md).",
    ),
]
GpusPerTask = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-task",
        metavar="N",
        help="GPUs of each trial or cell on a cluster, for example 0.25 [1 if there are any].",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Train a few steps, say what it will all cost, keep nothing."),
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
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", callback=hush, help="Print only errors and the last line: where it is."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
