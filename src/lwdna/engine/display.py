"""The progress a person sees; one process shows it, and only when asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

_NOT_SHOWN = {"epoch", "step", "lr", "seconds", "images_per_second"}


class Display(Protocol):
    """What the training loop tells whoever watches."""

    def step(self, steps_done: int, loss: float) -> None:
        """Note a step and its loss."""

    def epoch(self, line: Mapping[str, float]) -> None:
        """Note the results of an epoch."""


class _Silent:
    def step(self, steps_done: int, loss: float) -> None:
        pass

    def epoch(self, line: Mapping[str, float]) -> None:
        pass


class _Bar:
    def __init__(self, progress: Progress, *, total: int, done: int, epochs: int) -> None:
        self._progress = progress
        self._epochs = epochs
        self._bar = progress.add_task("training", total=total, completed=done, loss="")

    def step(self, steps_done: int, loss: float) -> None:
        self._progress.update(self._bar, completed=steps_done, loss=f"loss {loss:.4f}")

    def epoch(self, line: Mapping[str, float]) -> None:
        values = "  ".join(f"{k} {v:.4g}" for k, v in line.items() if k not in _NOT_SHOWN)
        self._progress.console.print(
            f"epoch {line['epoch']:.0f}/{self._epochs}  {values}  {line['seconds']:.1f} s",
            highlight=False,
        )


@contextmanager
def display(shown: bool, *, total: int, done: int, epochs: int) -> Iterator[Display]:
    """Yield a progress bar on standard error over ``total`` steps, or one that shows nothing."""
    if not shown:
        yield _Silent()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bar(progress, total=total, done=done, epochs=epochs)


@contextmanager
def counted(
    shown: bool, what: str, *, total: int | None, done: int = 0
) -> Iterator[Callable[[int, str], None]]:
    """Yield what is told how many things of ``total`` are done, and the name of the next one.

    A ``total`` of None is not known. A progress bar on standard error shows it, or nothing does.
    """
    if not shown:
        yield lambda done, name: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[name]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(what, total=total, completed=done, name="")
        yield lambda done, name: progress.update(bar, completed=done, name=name)
