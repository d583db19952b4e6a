"""``lwdna shrink``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from lwdna.cli.arguments import (
    Data,
    Executor,
    GpusPerTask,
    Jobs,
    Model,
    Out,
    Pretrained,
    Quiet,
    RecipeArgs,
    Resume,
    Trust,
)
from lwdna.cli.output import say, working
from lwdna.cli.places import placed
from lwdna.errors import LockedError
from lwdna.run_folder import ARCHITECTURE, WEIGHTS, find_weights
from lwdna.run_options import LOCAL

Weights = Annotated[
    Path | None,
    typer.Option(help="Trained network to shrink: a run's folder or a .safetensors file."),
]


def shrink(
    arguments: RecipeArgs = None,
    model: Model = None,
    pretrained: Pretrained = False,
    data: Data = None,
    out: Out = None,
    weights: Weights = None,
    resume: Resume = False,
    jobs: Jobs = 1,
    executor: Executor = LOCAL,
    gpus_per_task: GpusPerTask = None,
    quiet: Quiet = False,
    trust_code: Trust = False,
) -> None:
    """Find the widths of a better network; write an architecture file.

    Trials are shared with --jobs; the same command in other terminals or on other machines that see
    the folder helps, too.

    Examples:

      lwdna shrink recipes/digits.yaml --out runs/search

      lwdna shrink recipes/imagenet/resnet50.yaml data.root=/data/imagenet

      lwdna shrink digits shrink.warmup.epochs=2 shrink.inherit=true --out runs/search

      lwdna shrink digits shrink.trials.count=32 --jobs 4 --out runs/search

      lwdna shrink digits --weights runs/baseline shrink.width_mult=1 shrink.inherit=true
    """
    from lwdna.cli import options

    place = placed(out)
    default = options.saved_recipe(place, resume)
    name, recipe = options.read_recipe(arguments, model, data, default, pretrained)
    folder = options.run_folder(place, f"{name}-search")
    given = find_weights(weights) if weights else None
    chosen = options.run_options(quiet, trust_code, jobs, executor, gpus_per_task)
    from lwdna.cli import show
    from lwdna.workflows import help_search, run_search

    training = recipe.shrink.warmup or recipe.shrink.trials  # with progress bars of their own
    bar = nullcontext() if training else working("searching for the width of every layer")
    with options.resumable("shrink", folder, chosen), bar:
        try:
            found = run_search(recipe, folder, weights=given, resume=resume, options=chosen)
        except LockedError as held:
            if not recipe.shrink.trials or executor != LOCAL:
                raise
            say(f"{held.args[0].partition(';')[0]}: this one helps with its trials")
            help_search(recipe, folder, chosen)
            say(f"the search has ended; architecture: {folder / ARCHITECTURE}", last=True)
            return
    show.search(found)
    say(f"architecture: {folder / ARCHITECTURE}", last=True)
    if found.network is not None:
        say(f"with its weights: {folder / WEIGHTS}")
