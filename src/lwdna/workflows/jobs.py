"""Further processes that share the work of a run (``--jobs``) and end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from lwdna.engine.device import make_accelerator
from lwdna.errors import LwdnaError, RecipeError, TrainingError

_PATIENCE = 30.0
"""Seconds for a process to end its step and save, before it is ended at once."""


@dataclass(frozen=True)
class Helpers:
    """The processes that share the work of this one."""

    processes: tuple[tuple[SpawnProcess, Connection], ...] = ()

    def check(self) -> None:
        """Make sure that none failed; one that was killed leaves its work to the others.

        Raises:
            TrainingError: one did.
        """
        for process, said in self.processes:
            if process.exitcode == 1:
                fault = said.recv() if said.poll() else "the traceback above says why"
                raise TrainingError(
                    f"one of {len(self.processes) + 1} processes (--jobs) failed: {fault}"
                )

    def join(self) -> None:
        """Wait until all have ended."""
        for process, _ in self.processes:
            process.join()


@contextmanager
def helpers(
    jobs: int, work: Callable[..., None], *arguments: object, threads: int
) -> Iterator[Helpers]:
    """Let further processes work beside the body; they are ended with it.

    They start Python anew, so that a program of your own that asks for them has to be importable
    (``if __name__ == "__main__":``), as :mod:`multiprocessing` explains. Ctrl-C in a terminal
    reaches all; they save what they train.

    Args:
        jobs: processes altogether; of 1 there are no further ones.
        work: a function of a module. It does not return, or does when there is nothing to do.
        arguments: of the function; they are pickled.
        threads: of each further process, for computing on the CPU.

    Raises:
        RecipeError: several are asked for inside a launcher's processes.
    """
    if jobs > 1 and make_accelerator("no").num_processes > 1:
        raise RecipeError(
            f"--jobs {jobs} starts processes of its own, but a launcher (torchrun, accelerate) has "
            "started these; leave out the one or the other"
        )
    context = multiprocessing.get_context("spawn")
    started = []
    try:
        for _ in range(jobs - 1):
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_begin, args=(there, threads, work, arguments))
            process.start()
            there.close()
            started.append((process, here))
        yield Helpers(tuple(started))
    finally:
        for process, _ in started:
            process.terminate()
        for process, _ in started:
            process.join(_PATIENCE)
            process.kill()  # one that has ended is left alone
            process.join()


def _begin(
    said: Connection, threads: int, work: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    """Work in a process of its own; its exit code is 1 if it failed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        work(*arguments)
    except LwdnaError as fault:
        said.send(str(fault))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)  # a training saves
    time.sleep(_PATIENCE)
    os._exit(1)
