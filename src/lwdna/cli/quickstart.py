"""``lwdna quickstart``."""

from __future__ import annotations

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
from lwdna.run_options import LOCAL


def quickstart(
    arguments: RecipeArgs = None,
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
    """Search, train baseline and result, compare, write a report.

    Without arguments: a small network on handwritten digits, about a minute on a CPU.

    Examples:

      lwdna quickstart

      lwdna quickstart --model timm:resnet18 --data photos/ train.epochs=20

      lwdna quickstart --model timm:resnet18 --pretrained --data photos/

      lwdna quickstart recipes/cifar100/resnet20-short.yaml data.root=cifar100/
    """
    from lwdna.cli import options

    place = placed(out)
    default = options.saved_recipe(place, resume) or ("images" if data else "digits")
    name, recipe = options.read_recipe(arguments, model, data, default, pretrained)
    if dry_run:
        from lwdna.cli.dry_run import print_estimate

        print_estimate(recipe, "quickstart", trust_code)
        return
    folder = options.run_folder(place, name)
    chosen = options.run_options(quiet, trust_code, jobs, executor, gpus_per_task)
    from lwdna.cli import show
    from lwdna.workflows import run_job

    with options.resumable("quickstart", folder, chosen):
        report = run_job(recipe, folder, resume=resume, options=chosen)
    show.comparison(folder)
    say(f"report: {report}", last=True)
    show.answer(folder)
