"""Which process works on which job: any number of them share the folder of a comparison."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from lwdna.engine.claims import claimed
from lwdna.engine.together import shared
from lwdna.run_folder import CLAIM
from lwdna.workflows.cells import Cell, Job

_PATIENCE = 10.0
"""Seconds to wait for jobs that others hold: long enough for what a killed process leaves."""


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
        with claimed(job.folder / CLAIM, lambda: job.finished or not _ready(job)) as ours:
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


def _ready(job: Job) -> bool:
    return job.after is None or job.after.finished


def _title(job: Job) -> str:
    return f"{job.arm}, seed {job.seed}" if isinstance(job, Cell) else job.arm
