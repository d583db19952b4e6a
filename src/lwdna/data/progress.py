"""A progress bar for reading data, where that takes long."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress

_PATIENCE = 2.0
"""Seconds of decoding before a progress bar appears."""


def follow(done: Iterator[int], total: int, title: str = "decoding images") -> None:
    """Wait for all work, with a progress bar in a terminal if it takes long.

    Args:
        done: yields how many images were decoded.
        total: how many there are.
        title: what is being done.
    """
    console = Console(file=sys.stderr)
    start, finished = time.monotonic(), 0
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total, visible=False)
        for count in done:
            finished += count
            late = time.monotonic() - start > _PATIENCE
            progress.update(task, completed=finished, visible=late)
