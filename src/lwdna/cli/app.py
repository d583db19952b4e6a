"""The verbs of ``lwdna``, a file each; each is a thin layer over :mod:`lwdna.workflows`.

Whatever needs torch is imported inside the commands, after their arguments and the recipe have been
checked: it takes seconds, and help, a mistake or a shell's completion should not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lwdna.cli.allocator import reuse_memory
from lwdna.cli.compare import compare
from lwdna.cli.evaluate import evaluate
from lwdna.cli.export import export
from lwdna.cli.import_ import import_
from lwdna.cli.inspect import inspect
from lwdna.cli.list_ import list_
from lwdna.cli.merge import merge
from lwdna.cli.output import error, hush, say
from lwdna.cli.predict import predict
from lwdna.cli.push import push
from lwdna.cli.quickstart import quickstart
from lwdna.cli.report import report
from lwdna.cli.restore import restore
from lwdna.cli.sensitivity import sensitivity
from lwdna.cli.shrink import shrink
from lwdna.cli.slim import slim
from lwdna.cli.track import track
from lwdna.cli.train import train
from lwdna.errors import LwdnaError

VERBS: dict[str, Callable[..., None]] = {
    "quickstart": quickstart,
    "shrink": shrink,
    "slim": slim,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "inspect": inspect,
    "sensitivity": sensitivity,
    "report": report,
    "compare": compare,
    "restore": restore,
    "track": track,
    "merge": merge,
    "export": export,
    "import": import_,
    "push": push,
    "list": list_,
}


class _Commands(TyperGroup):
    """Errors that a user can mend are one line, without a traceback."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False  # to read a flag without a value, Typer imports pydantic
        return option

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LwdnaError as fault:
            error(str(fault))
            raise typer.Exit(1) from fault
        except KeyboardInterrupt as stop:
            error(str(stop) or "stopped", everywhere=False)
            raise typer.Exit(130) from stop
        finally:
            hush(False)  # the next command in this process may not be quiet


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(asked: bool) -> None:
    if asked:
        from lwdna import __version__

        say(f"lwdna {__version__}")
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


for name, verb in VERBS.items():
    app.command(name)(verb)


def main() -> None:
    """Run the command line."""
    reuse_memory()
    app()
