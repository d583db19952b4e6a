"""Lines on the terminal; rich is imported when there is something to print."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_hushed = False
"""Whether the command under way was told to be quiet."""


def hush(quiet: bool) -> bool:
    """Begin a command that prints nothing but its last line and errors, or one that does not."""
    global _hushed
    _hushed = quiet
    return quiet


def console(stderr: bool = False, *, last: bool = False) -> Console:
    """Return a console, silent if the command is quiet, and in all but the first of processes.

    Args:
        stderr: of standard error.
        last: for the last line, which a quiet command prints, too.
    """
    from rich.console import Console

    # The launcher's variable: asking Accelerate here would set up its process group too early.
    other = os.environ.get("RANK", "0") != "0"
    return Console(stderr=stderr, quiet=other or (_hushed and not last))


def say(text: str, *, last: bool = False) -> None:
    """Print one line, whatever the terminal's width; the last one of a command if it is quiet."""
    from rich.markup import escape

    console(last=last).print(escape(text), highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print one line on standard error, beside what a program may read from standard output."""
    from rich.markup import escape

    console(stderr=True).print(escape(text), highlight=False, soft_wrap=True)


def error(text: str, everywhere: bool = True) -> None:
    """Print an error as one line on standard error.

    By default every process does: a fault of one (a damaged image in its share) is unknown to
    the others.
    """
    from rich.console import Console
    from rich.markup import escape

    line = " ".join(text.split())
    shown = Console(stderr=True) if everywhere else console(stderr=True, last=True)
    shown.print(f"[bold red]error:[/] {escape(line)}", highlight=False, soft_wrap=True)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Say on standard error what is going on, with a sign of life where that is a terminal."""
    from rich.markup import escape

    shown = console(stderr=True)
    if shown.is_terminal:
        with shown.status(text):
            yield
    else:
        shown.print(escape(text), highlight=False, soft_wrap=True)
        yield
