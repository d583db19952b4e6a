"""``lwdna compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lwdna.cli.arguments import (
    Data,
    DryRun,
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
from lwdna.cli.output import say
from lwdna.cli.places import placed
from lwdna.errors import TrainingError
from lwdna.run_folder import RESULTS
from lwdna.run_options import LOCAL, RunOptions

if TYPE_CHECKING:
    from lwdna.recipe import Recipe


Seeds = Annotated[
    int | None, typer.Option(min=1, help="Trainings per arm [5].", show_default=False)
]
Arms = Annotated[
    str | None,
    typer.Option(help="Names of arms, with commas.", show_default="those of the recipe"),
]
Arm = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=shrink.KEY=VALUE,...", help="Describe a further arm."),
]
Shard = Annotated[
    str, typer.Option(metavar="I/N", help="Do one of N parts of the work, from 1/N to N/N.")
]


def compare(
    arguments: RecipeArgs = None,
    seeds: Seeds = None,
    arms: Arms = None,
    arm: Arm = None,
    shard: Shard = "1/1",
    model: Model = None,
    pretrained: Pretrained = False,
    data: Data = None,
    out: Out = None,
    resume: Resume = False,
    jobs: Jobs = 1,
    executor: Executor = LOCAL,
    gpus_per_task: GpusPerTask = None,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    trust_code: Trust = False,
) -> None:
    """Train several arms with several seeds; say what is better, by how much and how surely.

    Arms: baseline, lwdna (the recipe's search), uniform, random, reversed, those of the recipe and
    those described by --arm. Arms with trials are searched once for all seeds (compare.search). The
    same command again goes on; processes may share the folder.

    Examples:

      lwdna compare digits --seeds 3 --arms baseline,lwdna,uniform

      lwdna compare recipes/cifar100/resnet20-short.yaml data.root=/data/cifar100 --out runs/study

      lwdna compare digits --arm taylor=shrink.criterion=taylor,shrink.floor=0.2 --out runs/taylor

      lwdna compare --resume --out runs/study --shard 2/4
    """
    from lwdna.cli import options

    place = placed(out)
    default = options.saved_recipe(place, resume)
    name, recipe = options.read_recipe(arguments, model, data, default, pretrained)
    recipe = _with_arms(recipe, arms, arm or (), seeds)
    if dry_run:
        from lwdna.cli.dry_run import print_estimate

        print_estimate(recipe, "compare", trust_code)
        return
    folder = options.run_folder(place, f"{name}-compare")
    part = options.read_shard(shard)
    run_options = options.run_options(quiet, trust_code, jobs, executor, gpus_per_task)
    with options.resumable("compare", folder, run_options):
        report = _shown(recipe, folder, part, run_options)
    say(f"report: {report}", last=True)


def _shown(recipe: Recipe, folder: Path, part: tuple[int, int], chosen: RunOptions) -> Path:
    """Compare, and print the tables of what did not fail; return the report."""
    from lwdna.cli import show
    from lwdna.workflows import run_comparison

    try:
        report = run_comparison(recipe, folder, shard=part, options=chosen)
    except TrainingError:
        if (folder / RESULTS).is_file():
            show.study(folder)
        raise
    show.study(folder)
    return report


def _with_arms(
    recipe: Recipe, names: str | None, described: Sequence[str], seeds: int | None
) -> Recipe:
    """Return the recipe with the arms and seeds that the command line asks for."""
    from lwdna.arms import choose_arms, comparison_of, parse_arm

    given = dict(parse_arm(text) for text in described)
    chosen = recipe.compare.arms | given
    if names is not None:
        chosen = choose_arms(chosen, [*names.split(","), *given])
    compare = recipe.compare
    settings = comparison_of(chosen, seeds or compare.seeds, compare.search)
    return recipe.model_copy(update={"compare": settings})
