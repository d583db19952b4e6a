"""``lwdna push``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lwdna.cli.output import say, working


def push(
    run: Annotated[
        Path, typer.Argument(help="Folder of a training or of a job, or a .safetensors file.")
    ],
    repository: Annotated[
        str, typer.Argument(metavar="USER/NAME", help="Repository on the Hugging Face hub.")
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository for your own eyes only.")
    ] = False,
    message: Annotated[
        str, typer.Option("--message", "-m", help="What the commit says.")
    ] = "A network of lwdna",
) -> None:
    """Put a trained network on the Hugging Face hub: weights, architecture, a card with evidence.

    The repository is made if there is none. Log in before: hf auth login, or HF_TOKEN.

    Examples:

      lwdna push runs/images/lwdna user/resnet18-photos

      lwdna push model.safetensors user/private-one --private
    """
    from lwdna.workflows.push import push as put

    with working("uploading"):
        place = put(run, repository, private=private, message=message)
    say(f"pushed to {place}")
