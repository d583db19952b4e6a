"""Which process works on which cell: any number of them share the folder of a comparison.

A cell belongs to the process that holds its lock, which the operating system frees when a process
dies. Processes that were launched together work together; the first of them decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lwdna.errors import LockedError
from lwdna.locks import locked
from lwdna.run_folder import CLAIM
from lwdna.workflows.cells import Cell
from lwdna.workflows.together import is_first, shared

_PATIENCE = 10.0
"""Seconds to wait for cells that others hold: long enough for what a killed process leaves."""


def work_through(cells: Sequence[Cell], work: Callable[[Cell, str], None]) -> list[Cell]:
    """Work on every cell that is neither finished nor held by others.

    Args:
        cells: what this process is to do.
        work: finishes a cell, given what to call it. A cell that it leaves unfinished is not
            tried again.

    Returns:
        The cells that others still hold after a while. Whoever held a cell may have died; the
        workers that read its images follow within seconds.

    Raises:
        FileError: the file system knows no locks.
    """
    worked_on: set[Path] = set()

    def settled(cell: Cell, name: str) -> bool:
        if cell.folder in worked_on:
            return True
        with claimed(cell) as ours:
            if ours:
                work(cell, name)
                worked_on.add(cell.folder)
            return ours or cell.finished

    for number, cell in enumerate(cells, 1):
        settled(cell, f"cell {number} of {len(cells)}: {cell.arm}, seed {cell.seed}")
    started = time.monotonic()
    while True:
        waited = time.monotonic() - started > _PATIENCE
        left = [cell for cell in cells if not settled(cell, f"again: {cell}")]
        if shared(not left or waited):
            return left
        time.sleep(1)


@contextmanager
def claimed(cell: Cell) -> Iterator[bool]:
    """Yield whether a cell is to be worked on here: not finished, and held by nobody else.

    Raises:
        FileError: the file system knows no locks.
    """
    with ExitStack() as stack:
        ours = False
        if is_first() and not cell.finished:
            cell.folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(locked(cell.folder / CLAIM))
                ours = not cell.finished
            except LockedError:
                pass
        yield shared(ours)
