"""Which piece of work is done when: any number of processes share the folder of a comparison."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from lwdna.engine.claims import claimed
from lwdna.engine.executor import Ended, Executor, Here
from lwdna.engine.signals import TrainingInterrupted
from lwdna.engine.together import shared
from lwdna.errors import LwdnaError
from lwdna.run_folder import CLAIM

_PATIENCE = 10.0
"""Seconds to wait for jobs that others hold: long enough for what a killed process leaves."""


class Job(Protocol):
    """A piece of work with a folder of its own, which says whether it is finished."""

    @property
    def folder(self) -> Path:
        """Where it is done; different for every job."""

    @property
    def kind(self) -> str:
        """What jobs like this are called."""

    @property
    def title(self) -> str:
        """What this one is called among them."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""

    @property
    def after(self) -> Job | None:
        """What has to be finished before."""

    @property
    def waits(self) -> bool:
        """Whether it mostly waits for pieces of work that it hands out."""


J = TypeVar("J", bound=Job)


@dataclass
class Outcome(Generic[J]):
    """What is left when a queue has been worked through."""

    held: list[J] = field(default_factory=list)
    """Jobs that others still hold. Whoever held one may have died; the workers that read its images
    follow within seconds."""
    faults: list[tuple[J, str]] = field(default_factory=list)
    """Jobs that cannot be finished, and why."""


@dataclass(frozen=True)
class Attempt:
    """What a process made of a job."""

    ours: bool
    """Whether it worked on it: nobody else held it, and there was something to do."""
    finished: bool
    fault: str | None = None
    """Why it cannot be finished."""
    stopped: bool = False
    """Whether a signal ended it, with all saved."""

    @property
    def failed(self) -> bool:
        """Whether it is not to be tried again."""
        return self.ours and not self.finished and not self.stopped


def work_through(
    jobs: Sequence[J],
    work: Callable[[J, str], str | None],
    executor: Executor | None = None,
    note: Callable[[J, Attempt], None] = lambda job, made: None,
) -> Outcome[J]:
    """Work on every job that is neither finished nor held by others.

    Jobs whose predecessor is done by others are waited for, however long that takes.

    Args:
        jobs: what is to be done, predecessors first.
        work: finishes a job, given what to call it, or returns why that cannot be. What it leaves
            unfinished is not tried again, nor are the jobs that need it begun.
        executor: who does it; None for this process.
        note: told of every job that was worked on.

    Raises:
        FileError: the file system knows no locks.
    """
    queue = _Queue(work, executor or Here(), note)
    counts, numbers = Counter(job.kind for job in jobs), Counter[str]()
    names = {}
    for job in jobs:
        numbers[job.kind] += 1
        names[job.folder] = f"{job.kind} {numbers[job.kind]} of {counts[job.kind]}: {job.title}"
    left = queue.handed_out(jobs, names)
    started = time.monotonic()
    while True:
        worked = queue.worked
        left += (again := queue.collected(1.0))
        waited = time.monotonic() - started > _PATIENCE
        if queue.flight or queue.worked > worked or any(not _ready(job) for job in left):
            started, waited = time.monotonic(), False
        if shared(not queue.flight and (not left or waited)):
            queue.outcome.held = left
            return queue.outcome
        if again or not queue.flight:  # what others hold is not asked for all the time
            time.sleep(1)
        left = queue.handed_out(left, {job.folder: f"again: {job}" for job in left})


class _Queue(Generic[J]):
    """Hands jobs to an executor, at most as many at once as it has room for."""

    def __init__(
        self,
        work: Callable[[J, str], str | None],
        executor: Executor,
        note: Callable[[J, Attempt], None],
    ) -> None:
        self._work, self._executor, self._note = work, executor, note
        self._failed: set[Path] = set()
        self.worked = 0
        """Jobs that were not held by others."""
        self.flight: dict[Hashable, J] = {}
        """Jobs handed out of which nothing has been heard yet."""
        self.outcome: Outcome[J] = Outcome()

    def handed_out(self, jobs: Sequence[J], names: Mapping[Path, str]) -> list[J]:
        """Hand out the jobs that can be; return those that others hold, or that have to wait."""
        left = []
        for job in jobs:
            if job.after is not None and job.after.folder in self._failed:
                continue
            if self._executor.elsewhere and job.finished:
                continue
            if self._executor.elsewhere and not _ready(job):
                left.append(job)
                continue
            while len(self.flight) >= self._executor.room:
                left += self._taken_in(60.0)
            key = str(job.folder)
            self.flight[key] = job
            given = self._work, job, names[job.folder]
            self._executor.submit(key, attempt, *given, waits=job.waits)
            left += self._taken_in(0.0)
        return left

    def collected(self, seconds: float) -> list[J]:
        """Wait so long for what is under way; return the jobs that are to be handed out again."""
        again: list[J] = []
        worked, deadline = self.worked, time.monotonic() + seconds
        while self.flight and self.worked == worked and (left := deadline - time.monotonic()) > 0:
            again += self._taken_in(left)
        return again

    def _taken_in(self, seconds: float) -> list[J]:
        again = []
        for one in self._executor.ended(seconds):
            job, made = self.flight.pop(one.name), _made(one)
            if made.ours:
                self.worked += 1
                self._note(job, made)
            if made.fault is not None:
                self.outcome.faults.append((job, made.fault))
            if made.failed:
                self._failed.add(job.folder)
            elif not made.finished:
                again.append(job)
        return again


def attempt(work: Callable[[J, str], str | None], job: J, name: str) -> Attempt:
    """Work on a job, in the process that is to do so, unless another holds it."""
    with claimed(job.folder / CLAIM, lambda: job.finished or not _ready(job)) as ours:
        fault = work(job, name) if ours else None
    return Attempt(ours, shared(job.finished), fault)


def _made(one: Ended) -> Attempt:
    if isinstance(one.fault, TrainingInterrupted):
        return Attempt(True, False, stopped=True)
    if isinstance(one.fault, LwdnaError):
        return Attempt(True, False, str(one.fault))
    made = one.result()
    assert isinstance(made, Attempt)
    return made


def _ready(job: Job) -> bool:
    return job.after is None or job.after.finished
