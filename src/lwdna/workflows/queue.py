"""Which process works on which job: any number of them share the folder of a comparison.

A job belongs to the process that holds its lock, which the operating system frees when a process
dies. Processes that were launched together work together; the first of them decides.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lwdna.errors import LockedError
from lwdna.locks import locked
from lwdna.run_folder import CLAIM
from lwdna.workflows.cells import ArmSearch, Cell
from lwdna.workflows.together import is_first, shared

_PATIENCE = 10.0
"""Seconds to wait for jobs that others hold: long enough for what a killed process leaves."""

Job = ArmSearch | Cell


def work_through(jobs: Sequence[Job], work: Callable[[Job, str], None]) -> list[Job]:
    """Work on every job that is neither finished nor held by others.

    Cells whose search is done by others are waited for, however long that takes.

    Args:
        jobs: what this process is to do, searches before the cells that share them.
        work: finishes a job, given what to call it. A job that it leaves unfinished is not
            tried again, nor are the cells that need it begun.

    Returns:
        The jobs that others still hold after a while. Whoever held a job may have died; the
        workers that read its images follow within seconds.

    Raises:
        FileError: the file system knows no locks.
    """
    worked_on: set[Path] = set()
    failed: set[Path] = set()

    def settled(job: Job, name: str) -> bool:
        if job.folder in worked_on or (job.after is not None and job.after.folder in failed):
            return True
        with claimed(job) as ours:
            if ours:
                work(job, name)
                worked_on.add(job.folder)
                if not shared(job.finished):
                    failed.add(job.folder)
            return ours or job.finished

    counts, numbers = Counter(job.kind for job in jobs), Counter[str]()
    for job in jobs:
        numbers[job.kind] += 1
        settled(job, f"{job.kind} {numbers[job.kind]} of {counts[job.kind]}: {_title(job)}")
    started = time.monotonic()
    while True:
        waited = time.monotonic() - started > _PATIENCE
        left = [job for job in jobs if not settled(job, f"again: {job}")]
        if any(not _ready(job) for job in left):
            started, waited = time.monotonic(), False
        if shared(not left or waited):
            return left
        time.sleep(1)


@contextmanager
def claimed(job: Job) -> Iterator[bool]:
    """Yield whether a job is to be worked on here: it may be begun, and nobody else holds it.

    Raises:
        FileError: the file system knows no locks.
    """
    with ExitStack() as stack:
        ours = False
        if is_first() and not job.finished and _ready(job):
            job.folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(locked(job.folder / CLAIM))
                ours = not job.finished
            except LockedError:
                pass
        yield shared(ours)


def _ready(job: Job) -> bool:
    return job.after is None or job.after.finished


def _title(job: Job) -> str:
    return f"{job.arm}, seed {job.seed}" if isinstance(job, Cell) else job.arm
