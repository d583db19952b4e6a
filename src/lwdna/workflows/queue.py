"""Which process works on which cell: any number of them share the folder of a comparison."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lwdna.engine.claims import claimed
from lwdna.engine.together import shared
from lwdna.run_folder import CLAIM
from lwdna.workflows.cells import Cell

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
        with claimed(cell.folder / CLAIM, lambda: cell.finished) as ours:
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
