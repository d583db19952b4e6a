"""``lwdna quickstart``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lwdna.cli.arguments import (
    Data,
    DryRun,
    Jobs,
    Model,
    Pretrained,
    Quiet,
    RecipeArgs,
    Resume,
    Trust,
)
from lwdna.cli.output import say
from lwdna.run_options import RunOptions


def quickstart(
    arguments: RecipeArgs = None,
    model: Model = None,
    pretrained: Pretrained = False,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for everything [runs/NAME].")] = None,
    resume: Resume = False,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    trust_code: Trust = False,
) -> None:
    """Search, train baseline and result, compare, write a report.

    Without arguments: a small network on handwritten digits, about a minute on a CPU.

    Examples:

      lwdna quickstart

      lwdna quickstart --model timm:resnet18 --data photos/ train.epochs=20

      lwdna quickstart --model timm:resnet18 --pretrained --data photos/

      lwdna quickstart recipes/cifar100/resnet20-short.yaml data.root=cifar100/
    """
    from lwdna.cli import options

    default = options.saved_recipe(out, resume) or ("images" if data else "digits")
    name, recipe = options.read_recipe(arguments, model, data, default, pretrained)
    if dry_run:
        from lwdna.cli.dry_run import print_estimate

        print_estimate(recipe, "quickstart", trust_code)
        return
    folder = options.run_folder(out, name)
    chosen = RunOptions(progress=not quiet, trust_code=trust_code, say=say, jobs=jobs)
    from lwdna.cli import show
    from lwdna.workflows import run_job

    with options.resumable("quickstart", folder):
        report = run_job(recipe, folder, resume=resume, options=chosen)
    show.comparison(folder)
    say(f"report: {report}", last=True)
    show.answer(folder)
