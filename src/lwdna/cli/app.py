"""Commands of ``lwdna``; each is a thin layer over a function of :mod:`lwdna.workflows`.

Whatever needs torch is imported inside the commands: it takes seconds, and help, a wrong option
or a shell's completion should not.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lwdna.cli.allocator import reuse_memory
from lwdna.cli.arguments import Cut, Data, Json, Model, Pin, RecipeArgs, Resume, Tie, Trust
from lwdna.cli.compare import compare
from lwdna.cli.export import export
from lwdna.cli.import_ import import_
from lwdna.cli.list_ import list_
from lwdna.cli.output import error, say, working
from lwdna.cli.restore import restore
from lwdna.errors import LwdnaError, RecipeError


class _Commands(TyperGroup):
    """Errors that a user can mend are one line, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LwdnaError as fault:
            error(str(fault))
            raise typer.Exit(1) from fault
        except KeyboardInterrupt as stop:
            error(str(stop) or "stopped", everywhere=False)
            raise typer.Exit(130) from stop


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(asked: bool) -> None:
    if asked:
        say(f"lwdna {version('lwdna')}")
        raise typer.Exit


@app.callback()
def lwdna(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find how many channels each layer of a convolutional network should have.

    Example:

      lwdna quickstart
    """


@app.command()
def quickstart(
    arguments: RecipeArgs = None,
    model: Model = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for everything [runs/NAME].")] = None,
    resume: Resume = False,
    trust_code: Trust = False,
) -> None:
    """Search, train baseline and result, compare, write a report.

    Without arguments: a small network on handwritten digits, about a minute on a CPU.

    Examples:

      lwdna quickstart

      lwdna quickstart --model timm:resnet18 --data photos/ train.epochs=20

      lwdna quickstart recipes/cifar100/resnet20-short.yaml data.root=cifar100/
    """
    from lwdna.cli import options, show
    from lwdna.workflows import run_job

    default = options.saved_recipe(out, resume) or ("images" if data else "digits")
    name, recipe = options.read_recipe(arguments, model, data, default)
    folder = options.run_folder(out, name)
    with options.resumable("quickstart", folder):
        report = run_job(
            recipe, folder, resume=resume, progress=True, trust_code=trust_code, say=say
        )
    show.comparison(folder)
    say(f"report: {report}")


@app.command()
def shrink(
    arguments: RecipeArgs = None,
    model: Model = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the search.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Trained network to shrink: a run's folder or a .safetensors file."),
    ] = None,
    resume: Resume = False,
    trust_code: Trust = False,
) -> None:
    """Find the widths of a better network; write an architecture file.

    Examples:

      lwdna shrink recipes/digits.yaml --out runs/search

      lwdna shrink recipes/imagenet/resnet50.yaml data.root=/data/imagenet

      lwdna shrink digits shrink.warmup.epochs=2 shrink.inherit=true --out runs/search

      lwdna shrink digits shrink.trials.count=24 --out runs/search

      lwdna shrink digits --weights runs/baseline shrink.width_mult=1 shrink.inherit=true
    """
    from lwdna.cli import options, show
    from lwdna.workflows import ARCHITECTURE, WEIGHTS, find_weights, run_search

    default = options.saved_recipe(out, resume)
    name, recipe = options.read_recipe(arguments, model, data, default)
    folder = options.run_folder(out, f"{name}-search")
    training = recipe.shrink.warmup or recipe.shrink.trials  # with progress bars of their own
    bar = nullcontext() if training else working("searching for the width of every layer")
    with options.resumable("shrink", folder), bar:
        found = run_search(
            recipe,
            folder,
            weights=find_weights(weights) if weights else None,
            resume=resume,
            progress=True,
            trust_code=trust_code,
            say=say,
        )
    show.search(found)
    say(f"architecture: {folder / ARCHITECTURE}")
    if found.network is not None:
        say(f"with its weights: {folder / WEIGHTS}")


@app.command()
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
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run.")] = None,
    resume: Resume = False,
    trust_code: Trust = False,
) -> None:
    """Train the baseline of a recipe, or a network found for it, with the same protocol.

    Examples:

      lwdna train recipes/digits.yaml --out runs/baseline

      lwdna train digits --architecture runs/search/architecture.lwdna.json

      lwdna train --resume --out runs/baseline

      accelerate launch --multi_gpu -m lwdna train imagenet/resnet50 --out runs/r50
    """
    from lwdna.architecture import Architecture
    from lwdna.cli import options, show
    from lwdna.workflows import run_training

    default = options.saved_recipe(out, resume)
    name, recipe = options.read_recipe(arguments, model, data, default)
    folder = options.run_folder(out, f"{name}-{'lwdna' if architecture else 'baseline'}")
    weighted = architecture is not None and architecture.suffix == ".safetensors"
    with options.resumable("train", folder):
        results = run_training(
            recipe,
            folder,
            architecture=Architecture.load(architecture) if architecture else None,
            weights=architecture if weighted else None,
            resume=resume,
            progress=True,
            trust_code=trust_code,
            say=say,
        )
    show.results(results)
    say(f"run: {folder}")


@app.command()
def evaluate(
    weights: Annotated[Path, typer.Argument(help="A run's folder, or a .safetensors file.")],
    arguments: RecipeArgs = None,
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the figures and for restored images [RUN/evaluation]."),
    ] = None,
    json_: Json = False,
    trust_code: Trust = False,
) -> None:
    """Measure a trained network on a validation set.

    Examples:

      lwdna evaluate runs/digits/lwdna

      lwdna evaluate model.safetensors recipes/imagenet/resnet50.yaml data.root=/data/imagenet
    """
    from lwdna.cli import options, show
    from lwdna.workflows import evaluate_run, find_weights

    file = find_weights(weights)
    own = file.parent / "recipe.yaml"
    default = own if own.is_file() else None
    if default is None and all("=" in argument for argument in arguments or ()):
        raise RecipeError(f"which data? name the recipe: lwdna evaluate {weights} RECIPE")
    _, recipe = options.read_recipe(arguments, None, data, default)
    with working("evaluating"):
        metrics = evaluate_run(file, recipe, out, trust_code=trust_code)
    if json_:
        say(json.dumps(metrics))
    else:
        show.results(metrics)


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="A network's name or an architecture file.")],
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the image in pixels.", show_default="224")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, help="Channels of the image.", show_default="3")
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Also members of groups, pins, cost per layer.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Draw it: a page to write.")
    ] = None,
    latency: Annotated[
        bool,
        typer.Option("--latency", help="Also its operators' times added; measured once, kept."),
    ] = False,
    pin: Pin = None,
    tie: Tie = None,
    cut: Cut = None,
    json_: Json = False,
    trust_code: Trust = False,
) -> None:
    """Show the groups of channels of a network, what they cost and what is pinned.

    Examples:

      lwdna inspect timm:resnet50

      lwdna inspect timm:resnet50 --html resnet50.html

      lwdna inspect lwdna:resnet56_cifar --size 32 --details

      lwdna inspect timm:resnet50 --pin 'layer1.*' --tie layer2.0.conv1=layer2.1.conv1

      lwdna inspect timm:mobilenetv2_100 --latency

      lwdna inspect runs/digits/search/architecture.lwdna.json
    """
    from lwdna.cli import options, show
    from lwdna.input_size import describe
    from lwdna.reports import write_graph_page
    from lwdna.workflows import added_latency, trace_network

    edits = options.read_edits(pin, tie, cut)
    with working("tracing"):
        graph, shape = trace_network(
            model, size=size, channels=channels, trust_code=trust_code, edits=edits
        )
    if html:
        write_graph_page(graph, f"{model} ({describe(shape, times=' × ')})", html)
    milliseconds = None
    if latency:
        with working("measuring operators (once on this machine)"):
            milliseconds = added_latency(graph)
    if json_:
        cost, groups = vars(graph.cost()), show.group_lines(graph)
        if milliseconds is not None:
            cost = {**cost, "latency": milliseconds}
        say(json.dumps({"input_size": shape, "cost": cost, "groups": groups}))
        return
    if details:
        say(graph.report())
        show.layers(graph)
    show.groups(graph, shape)
    if milliseconds is not None:
        say(f"latency: {show.milliseconds(milliseconds)}, the times of its operators added")
    if html:
        say(f"drawing: {html}")


@app.command()
def report(
    run: Annotated[
        Path, typer.Argument(help="Folder of a job, a search, a training or a comparison.")
    ],
    out: Annotated[Path | None, typer.Option(help="File to write [RUN/report.html].")] = None,
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


app.command()(compare)
app.command()(restore)
app.command()(export)
app.command("import")(import_)
app.command("list")(list_)


def main() -> None:
    """Run the command line."""
    reuse_memory()
    app()
