"""Lines on the terminal; rich is imported when there is something to print."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console(stderr: bool = False) -> Console:
    """Return a console that is silent on all but the first of several processes."""
    from rich.console import Console

    # The launcher's variable: asking Accelerate here would set up its process group too early.
    quiet = os.environ.get("RANK", "0") != "0"
    return Console(stderr=stderr, quiet=quiet)


def say(text: str) -> None:
    """Print one line, whatever the terminal's width."""
    from rich.markup import escape

    console().print(escape(text), highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print one line on standard error, beside what a command prints."""
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
    shown = Console(stderr=True) if everywhere else console(stderr=True)
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
