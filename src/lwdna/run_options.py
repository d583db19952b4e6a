"""How a run is carried out, which changes nothing of its results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from lwdna.errors import RecipeError

LOCAL = "local"
"""The executor that is processes of this machine."""


def _silent(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class RunOptions:
    """What whoever starts a run decides about it, beside the recipe.

    Raises:
        RecipeError: there is no such executor, or options contradict each other.
    """

    progress: bool = False
    """Show progress bars on standard error."""
    trust_code: bool = False
    """Allow a network whose source imports Python code."""
    say: Callable[[str], None] = _silent
    """Told in a line of text what is being done."""
    jobs: int = 1
    """Processes of this machine that share trials of a search, or the cells of a comparison."""
    executor: str = LOCAL
    """Where trials and cells are done: ``local`` (processes of this machine), ``ray`` (the Ray
    cluster that this machine belongs to, or one of this machine alone), ``ray://HOST:PORT``
    (another one, by Ray's client) or ``slurm``."""
    gpus_per_task: float | None = None
    """GPUs of each trial or cell on a cluster: a part of one (0.25) or a whole number. None is one
    on a Ray cluster with GPUs, and otherwise none."""

    def __post_init__(self) -> None:
        """Check the executor and its options."""
        local, gpus = self.executor == LOCAL, self.gpus_per_task
        if not local and self.executor not in ("ray", "slurm") and not self._client:
            raise RecipeError(
                f"there is no executor {self.executor}; choose local, ray, ray://HOST:PORT or slurm"
            )
        if local and gpus is not None:
            raise RecipeError("--gpus-per-task is for --executor ray or slurm; leave it out here")
        if not local and self.jobs > 1:
            raise RecipeError(
                f"--jobs {self.jobs} starts processes of this machine, --executor {self.executor} "
                "those of a cluster; leave out the one or the other"
            )
        whole = gpus is not None and gpus == int(gpus)
        if gpus is not None and not (0 <= gpus < 1 or (whole and gpus >= 1)):
            raise RecipeError(
                f"--gpus-per-task {gpus:g} is neither a part of a GPU (between 0 and 1) nor a "
                "whole number of them"
            )
        if self.executor == "slurm" and gpus is not None and not whole:
            raise RecipeError(
                f"Slurm gives whole GPUs, not {gpus:g} of one; --executor ray can share them"
            )

    @property
    def _client(self) -> bool:
        return self.executor.startswith("ray://") and len(self.executor) > len("ray://")

    def trusting(self, code: bool) -> RunOptions:
        """Return options that allow Python code if these do, or if ``code`` says so."""
        return replace(self, trust_code=self.trust_code or code)

    def of_helper(self) -> RunOptions:
        """Return what these options are for a process that helps: silent, and by itself."""
        return RunOptions(trust_code=self.trust_code)

    def of_task(self, executor: str) -> RunOptions:
        """Return what these options are for a task of a cluster.

        Args:
            executor: who does the trials of a search that is such a task.
        """
        gpus = None if executor == LOCAL else self.gpus_per_task
        return RunOptions(trust_code=self.trust_code, executor=executor, gpus_per_task=gpus)
