"""``lwdna compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lwdna.cli.arguments import Data, Model, RecipeArgs, Resume, Trust
from lwdna.cli.output import say
from lwdna.errors import TrainingError
from lwdna.run_folder import RESULTS
from lwdna.run_options import RunOptions


def compare(
    arguments: RecipeArgs = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings per arm [5].", show_default=False)
    ] = None,
    arms: Annotated[
        str | None, typer.Option(help="Names of arms, with commas [those of the recipe].")
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=shrink.KEY=VALUE,...", help="Describe a further arm."),
    ] = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Do one of N parts of the work, from 1/N to N/N.")
    ] = "1/1",
    model: Model = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for everything.")] = None,
    resume: Resume = False,
    trust_code: Trust = False,
) -> None:
    """Train several arms with several seeds; say what is better, by how much and how surely.

    Arms: baseline, lwdna (the recipe's search), uniform, random, reversed, those of the recipe and
    those described by --arm. The same command again goes on; processes may share the folder.

    Examples:

      lwdna compare digits --seeds 3 --arms baseline,lwdna,uniform

      lwdna compare recipes/cifar100/resnet20-short.yaml data.root=/data/cifar100 --out runs/study

      lwdna compare digits --arm taylor=shrink.criterion=taylor,shrink.floor=0.2 --out runs/taylor

      lwdna compare --resume --out runs/study --shard 2/4
    """
    from lwdna.arms import choose_arms, comparison_of, parse_arm
    from lwdna.cli import options

    name, recipe = options.read_recipe(arguments, model, data, options.saved_recipe(out, resume))
    described = dict(parse_arm(text) for text in arm or ())
    chosen = recipe.compare.arms | described
    if arms is not None:
        chosen = choose_arms(chosen, [*arms.split(","), *described])
    settings = comparison_of(chosen, seeds or recipe.compare.seeds)
    recipe = recipe.model_copy(update={"compare": settings})
    folder = options.run_folder(out, f"{name}-compare")
    part = options.read_shard(shard)
    run_options = RunOptions(progress=True, trust_code=trust_code, say=say)
    from lwdna.cli import show
    from lwdna.workflows import run_comparison

    with options.resumable("compare", folder):
        try:
            report = run_comparison(recipe, folder, shard=part, options=run_options)
        except TrainingError:
            if (folder / RESULTS).is_file():  # of the cells that did not fail
                show.study(folder)
            raise
    show.study(folder)
    say(f"report: {report}")
