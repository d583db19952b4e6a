"""Where the cells of a comparison and the trials of a search are done (``--executor``).

``local`` are processes of this machine (:mod:`lwdna.workflows.jobs`); ``ray`` and ``slurm`` hand
each cell and each trial to a cluster, and are imported when asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from lwdna.engine.device import make_accelerator
from lwdna.engine.executor import Executor
from lwdna.engine.signals import TrainingInterrupted
from lwdna.errors import RecipeError
from lwdna.run_folder import SLURM
from lwdna.run_options import LOCAL, RunOptions


def check_executor(options: RunOptions) -> None:
    """Make sure that the executor asked for can be had, before any work is done.

    Raises:
        RecipeError: a launcher has started several processes, or a package is missing.
    """
    if options.executor == LOCAL:
        return
    if make_accelerator("no").num_processes > 1:
        raise RecipeError(
            f"--executor {options.executor} starts processes of its own, but a launcher (torchrun, "
            "accelerate) has started these; leave out the one or the other"
        )
    if options.executor == "slurm":
        from lwdna.workflows.executors.slurm import check_slurm

        check_slurm()
    else:
        from lwdna.workflows.executors.ray import check_ray

        check_ray()


@contextmanager
def opened(options: RunOptions, folder: Path) -> Iterator[Executor | None]:
    """Yield the executor that the options name, or None for processes of this machine.

    What is under way when the body ends early (Ctrl-C) is asked to save and to end.

    Args:
        options: executor and its resources.
        folder: that of the run, where Slurm keeps what its jobs are given and say.

    Raises:
        RecipeError: there is no such cluster.
        TrainingInterrupted: Ctrl-C.
    """
    if options.executor == LOCAL:
        yield None
        return
    if options.executor == "slurm":
        from lwdna.workflows.executors.slurm import slurm

        cluster: AbstractContextManager[Executor] = slurm(folder / SLURM, options.gpus_per_task)
    else:
        from lwdna.workflows.executors.ray import ray_cluster

        cluster = ray_cluster(options.executor, options.gpus_per_task)
    try:
        with cluster as executor:
            yield executor
    except TrainingInterrupted:
        raise
    except KeyboardInterrupt as stop:
        raise TrainingInterrupted(
            f"stopped; what was under way in {folder} is saved, resume to go on"
        ) from stop
