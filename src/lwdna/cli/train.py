"""``lwdna train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lwdna.cli.arguments import (
    Data,
    DryRun,
    Model,
    Out,
    Pretrained,
    Quiet,
    RecipeArgs,
    Resume,
    Trust,
)
from lwdna.cli.output import say
from lwdna.cli.places import placed
from lwdna.run_folder import BASELINE, FOUND
from lwdna.run_options import RunOptions


def train(
    arguments: RecipeArgs = None,
    architecture: Annotated[
        Path | None,
        typer.Option(
            help="Network found by `lwdna shrink`; without it the baseline is trained. Training "
            "starts from the weights of a .safetensors file, else from fresh ones."
        ),
    ] = None,
    model: Model = None,
    pretrained: Pretrained = False,
    data: Data = None,
    out: Out = None,
    resume: Resume = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    trust_code: Trust = False,
) -> None:
    """Train the baseline of a recipe, or a network found for it, with the same protocol.

    Examples:

      lwdna train recipes/digits.yaml --out runs/baseline

      lwdna train digits --architecture runs/search/architecture.lwdna.json

      lwdna train --resume --out runs/baseline

      accelerate launch --multi_gpu -m lwdna train imagenet/resnet50 --out runs/r50
    """
    from lwdna.cli import options

    place = placed(out)
    default = options.saved_recipe(place, resume)
    name, recipe = options.read_recipe(arguments, model, data, default, pretrained)
    if dry_run:
        from lwdna.cli.dry_run import print_estimate

        print_estimate(recipe, "train", trust_code, architecture)
        return
    folder = options.run_folder(place, f"{name}-{FOUND if architecture else BASELINE}")
    chosen = RunOptions(progress=not quiet, trust_code=trust_code, say=say)
    from lwdna.architecture import Architecture
    from lwdna.cli import show
    from lwdna.workflows import run_training

    weighted = architecture is not None and architecture.suffix == ".safetensors"
    with options.resumable("train", folder):
        results = run_training(
            recipe,
            folder,
            architecture=Architecture.load(architecture) if architecture else None,
            weights=architecture if weighted else None,
            resume=resume,
            options=chosen,
        )
    show.results(results)
    say(f"run: {folder}", last=True)
