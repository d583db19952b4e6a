"""How far a comparison is, read from its folder, whoever works on it: as a table and as a page."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from lwdna.engine.log import read_metrics
from lwdna.engine.together import is_first
from lwdna.errors import FileError
from lwdna.files import write_text
from lwdna.run_folder import CLAIM, PROGRESS, TRAINING
from lwdna.workflows.cells import Cell, Job

_EVERY = 2.0
"""Seconds between looks at the folder."""
_SHARE = 20
"""Time between looks in durations of one: a slow file system is not kept busy by looking."""
_SHOWN = 12
"""Cells under way that are listed by name."""


@dataclass(frozen=True)
class Line:
    """A job under way."""

    title: str
    epoch: int
    epochs: int
    """0 for a search, which has none."""
    images_per_second: float | None
    """Of the last epoch of training; None before the first ends."""


@dataclass(frozen=True)
class Status:
    """How far a comparison is."""

    cells: int
    done: int
    failed: int
    running: tuple[Line, ...]
    seconds: float
    """Since this process began."""
    left: float | None
    """Seconds that the rest will take at the speed until now; None before anything is done."""

    @property
    def images_per_second(self) -> float:
        """Of all trainings under way."""
        return sum(line.images_per_second or 0.0 for line in self.running)

    def figures(self) -> list[tuple[str, str]]:
        """Return names and values of the table."""
        waiting = self.cells - self.done - self.failed
        speed = self.images_per_second
        return [
            ("cells done", f"{self.done} of {self.cells}"),
            ("running", str(len(self.running))),
            ("failed", str(self.failed)),
            ("images per second", f"{speed:.0f}" if speed else "–"),
            ("time", _time(self.seconds)),
            ("time left", _time(self.left) if waiting else "–"),
        ]


class Board:
    """Looks at the jobs of a comparison from time to time.

    A job is done where its results are, and under way where its lock is; the lock of a worker that
    was killed counts until another takes the job over.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._cells = sum(isinstance(job, Cell) for job in jobs)
        self._open: dict[Path, Job] = {job.folder: job for job in jobs}
        self._failed: set[Path] = set()
        self._begun, self._before = time.monotonic(), 0.0
        self._lock = threading.Lock()
        self._before = self._progress(self.status())

    def failed(self, job: Job) -> None:
        """Note that a job cannot be finished."""
        with self._lock:
            self._failed.add(job.folder)

    def status(self) -> Status:
        """Look at what was not done the last time."""
        with self._lock:
            for folder in [folder for folder, job in self._open.items() if job.finished]:
                del self._open[folder]
            running = [job for job in self._open.values() if (job.folder / CLAIM).exists()]
            lost = [job for job in self._open.values() if self._is_lost(job)]
            left = [job for job in self._open.values() if isinstance(job, Cell)]
        status = Status(
            cells=self._cells,
            done=self._cells - len(left),
            failed=sum(isinstance(job, Cell) for job in lost),
            running=tuple(_line(job) for job in running),
            seconds=time.monotonic() - self._begun,
            left=None,
        )
        here = self._progress(status) - self._before
        rest = status.cells - status.failed - self._progress(status)
        if here <= 0:
            return status
        return Status(**{**vars(status), "left": status.seconds * rest / here})

    def _is_lost(self, job: Job) -> bool:
        needed = job.after
        return job.folder in self._failed or (needed is not None and needed.folder in self._failed)

    def _progress(self, status: Status) -> float:
        """Return how many cells are done, parts of them included."""
        return status.done + sum(line.epoch / line.epochs for line in status.running if line.epochs)


def _line(job: Job) -> Line:
    if not isinstance(job, Cell):
        return Line(str(job), 0, 0, None)
    lines = read_metrics(job.folder / TRAINING)
    last = lines[-1] if lines else {"epoch": 0}
    return Line(
        str(job), int(last["epoch"]), job.recipe.train.epochs, last.get("images_per_second")
    )


@contextmanager
def shown(jobs: Sequence[Job], folder: Path, *, table: bool) -> Iterator[Board]:
    """Show how far a comparison is while the body runs.

    Of processes that were launched together, the first does.

    Args:
        jobs: its cells and searches.
        folder: its own, which gets a page that refreshes itself. It is removed when the body ends,
            and stays, saying so, when it is interrupted.
        table: whether to show a table on standard error, too, if that is a terminal.
    """
    board = Board(jobs)
    if not is_first():
        yield board
        return
    end, page = threading.Event(), folder / PROGRESS
    console = Console(stderr=True)
    live = Live(console=console, auto_refresh=False) if table and console.is_terminal else None

    def look(ended: str = "") -> float:
        start = time.monotonic()
        status = board.status()
        with suppress(FileError):  # a full disk ends trainings, not this
            write_text(page, _page(status, folder, ended))
        if live is not None:
            live.update(_table(status), refresh=True)
        return time.monotonic() - start

    def watch(took: float) -> None:
        while not end.wait(max(_EVERY, _SHARE * took)):
            took = look()

    if live is not None:
        live.start()
    watcher = threading.Thread(target=watch, args=(look(),), daemon=True)
    watcher.start()
    try:
        yield board
    except BaseException:
        _end(watcher, end, lambda: look("stopped; the same command goes on"))
        raise
    else:
        _end(watcher, end, look)
        page.unlink(missing_ok=True)
    finally:
        if live is not None:
            live.stop()


def _end(watcher: threading.Thread, end: threading.Event, look: Callable[[], float]) -> None:
    end.set()
    watcher.join()
    look()


def _table(status: Status) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    figures = status.figures()
    for name, _ in figures:
        table.add_column(name, justify="right")
    table.add_row(*(value for _, value in figures))
    whole = Table.grid()
    whole.add_row(table)
    for line in status.running[:_SHOWN]:
        whole.add_row(f"  {_said(line)}")
    if len(status.running) > _SHOWN:
        whole.add_row(f"  and {len(status.running) - _SHOWN} more")
    return whole


def _page(status: Status, folder: Path, ended: str) -> str:
    name = html.escape(folder.name)
    figures = "".join(f"<tr><th>{key}<td>{value}" for key, value in status.figures())
    running = "".join(f"<li>{html.escape(_said(line))}" for line in status.running)
    now = ended or f"as of {time.strftime('%Y-%m-%d %H:%M:%S')}"
    refresh = "" if ended else f'<meta http-equiv="refresh" content="{max(5, int(_EVERY))}">'
    share = 100 * status.done / max(1, status.cells)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
{refresh}
<title>{status.done} of {status.cells} cells: {name}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem;
  color-scheme: light dark }}
th {{ text-align: left; font-weight: normal; padding-right: 2rem }}
td {{ text-align: right; font-variant-numeric: tabular-nums }}
progress {{ width: 100% }}
</style>
<h1>{name}</h1>
<progress max="100" value="{share:.1f}">{share:.0f} %</progress>
<table>{figures}</table>
<ul>{running}</ul>
<p>{html.escape(now)}</p>
</html>
"""


def _said(line: Line) -> str:
    parts = [line.title]
    if line.epochs:
        parts.append(f"epoch {min(line.epoch + 1, line.epochs)} of {line.epochs}")
    if line.images_per_second:
        parts.append(f"{line.images_per_second:.0f} images per second")
    return ", ".join(parts)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
