"""Worker processes for benchmarks of many networks: a crash or a hang loses one network only."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

import lwdna

LIMIT = 90
"""Processor seconds for each library, and for the checks of ours."""

Job = Callable[[Any], dict[str, Any]]


class TimeUp(BaseException):
    """The limit has passed; not an ``Exception``, so that nobody takes it for an answer."""


@contextmanager
def limited(seconds: float = LIMIT) -> Iterator[None]:
    """Raise :class:`TimeUp` in the body after so many processor seconds."""

    def stop(*_: Any) -> None:
        raise TimeUp

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def brief(error: BaseException) -> str:
    """Return type and first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:240]


def serve(connection: Connection, jobs: Mapping[str, Job], warm_up: Any) -> None:
    """Do jobs by name in a worker process until one runs out of time and may leave a mess."""
    warnings.filterwarnings("ignore")
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  (as long as the process)
    torch.set_num_threads(1)
    for job in jobs.values():
        job(warm_up)
    while True:
        name, entry = connection.recv()
        try:
            found = jobs[name](entry)
        except Exception as error:
            found = {"error": brief(error)}
        connection.send(found)
        if found.get("timeout"):
            return


class Worker:
    """A worker process that is replaced when it has died."""

    def __init__(self, jobs: Mapping[str, Job], warm_up: Any) -> None:
        self.jobs, self.warm_up = jobs, warm_up
        self.process: multiprocessing.process.BaseProcess | None = None

    def run(self, name: str, entry: Any) -> dict[str, Any]:
        """Do one job on one network, whatever happens to the process."""
        if self.process is None or not self.process.is_alive():
            context = multiprocessing.get_context("spawn")
            self.connection, other = context.Pipe()
            self.process = context.Process(
                target=serve, args=(other, self.jobs, self.warm_up), daemon=True
            )
            self.process.start()
            other.close()
        try:
            self.connection.send((name, entry))
            # building and warming up take their time; and other programs may run
            if not self.connection.poll(6 * LIMIT):
                self.stop()
                return {"error": f"hung for {6 * LIMIT} s", "timeout": True}
            found: dict[str, Any] = self.connection.recv()
        except (EOFError, OSError):
            self.stop()
            return {"error": "the process died (out of memory?)"}
        if found.get("timeout"):
            self.stop()
        return found

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def code_version() -> str:
    """Return the last commit that changed this library, ``-dirty`` if its files differ from it."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        folder = Path(lwdna.__file__).parent
        command = ["git", *words, "--", "."]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    commit = git("log", "-1", "--format=%h", "--abbrev=12").stdout.strip()
    if not commit:
        return f"lwdna {version('lwdna')}"
    return commit + "-dirty" * bool(git("status", "--porcelain").stdout)
