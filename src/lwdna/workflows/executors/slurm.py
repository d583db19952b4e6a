"""Pieces of work as jobs of Slurm, by way of submitit.

Account, partition and time come from the variables that ``sbatch`` reads (``SBATCH_PARTITION``,
``SBATCH_TIMELIMIT``, ...), as on any command line of Slurm.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lwdna.engine.executor import Ended
from lwdna.errors import RecipeError, TrainingError
from lwdna.workflows.executors.work import TRIES, Piece, of_the_machine

ROOM = 500
"""Jobs under way at once; clusters limit how many a user may queue."""
_SAVING = 60.0
"""Seconds for jobs to end their step and save."""


def check_slurm() -> None:
    """Make sure that there is Slurm, and submitit.

    Raises:
        RecipeError: one of them is missing.
    """
    if find_spec("submitit") is None:
        raise RecipeError(
            "--executor slurm needs submitit, which is not installed: pip install 'lwdna[slurm]'"
        )
    if shutil.which("sbatch") is None:
        raise RecipeError(
            "--executor slurm needs Slurm, but there is no sbatch here; call from a machine that "
            "hands in jobs, or leave out --executor"
        )


@contextmanager
def slurm(folder: Path, gpus: float | None, cluster: str = "slurm") -> Iterator[SlurmJobs]:
    """Yield what hands in jobs.

    Args:
        folder: gets what jobs are given and what they say.
        gpus: of each job; None is none.
        cluster: as submitit names it; ``local`` are processes of this machine.
    """
    jobs = SlurmJobs(folder, int(gpus or 0), cluster)
    try:
        yield jobs
    finally:
        jobs.stop()


class _Again(Piece):
    """A piece that is queued again, as it is, when its time is up; it goes on where it was."""

    def checkpoint(self) -> Any:
        """Return what submitit hands in when Slurm announces the end of a job."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class SlurmJobs:
    """Hands in jobs (:class:`lwdna.engine.executor.Executor`)."""

    elsewhere = True
    nests = False
    room = ROOM

    def __init__(self, folder: Path, gpus: int, cluster: str) -> None:
        import submitit

        self._executor = submitit.AutoExecutor(folder=folder / "%j", cluster=cluster)
        self._executor.update_parameters(name="lwdna")
        if gpus:
            self._executor.update_parameters(gpus_per_node=gpus)
        self._gpus, self._folder = gpus, Path.cwd()
        self._poll = 0.1 if cluster == "local" else 2.0
        self._flight: dict[Hashable, tuple[Any, Piece, int]] = {}

    def submit(
        self, name: Hashable, work: Callable[..., Any], *arguments: object, waits: bool = False
    ) -> None:
        """Hand in a job."""
        self._start(name, _Again(self._folder, bool(self._gpus), work, arguments), 1)

    def _start(self, name: Hashable, piece: Piece, number: int) -> None:
        self._flight[name] = self._executor.submit(piece), piece, number

    def ended(self, seconds: float) -> list[Ended]:
        """Return what has ended; a job that was lost, or failed on a file, is handed in again."""
        deadline = time.monotonic() + seconds
        while True:
            found = [one for name in [*self._flight] if (one := self._looked_at(name))]
            left = deadline - time.monotonic()
            if found or left <= 0 or not self._flight:
                return found
            time.sleep(min(left, self._poll))

    def _looked_at(self, name: Hashable) -> Ended | None:
        job, piece, number = self._flight[name]
        if not job.done():
            return None
        del self._flight[name]
        error = job.exception()
        if error is None:
            value, fault = job.result()
        else:
            why = str(error).strip().rpartition("\n")[2]
            value, fault = None, TrainingError(f"job {job.job_id} ended without a result: {why}")
        if number < TRIES and (error is not None or of_the_machine(fault)):
            self._start(name, piece, number + 1)
            return None
        return Ended(name, value, fault)

    def stop(self) -> None:
        """Cancel all jobs; those under way go on from their last checkpoint the next time."""
        for job, _, _ in self._flight.values():
            job.cancel(check=False)
        deadline = time.monotonic() + _SAVING
        while time.monotonic() < deadline and not all(
            job.done(force_check=True) for job, _, _ in self._flight.values()
        ):
            time.sleep(self._poll)
        self._flight.clear()
