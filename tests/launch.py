"""Processes beside the test's own, forked off one that has imported all that they need.

That saves each the seconds that it takes to import torch. Where the start itself is tested, by
``python -m lwdna`` or torchrun, :mod:`subprocess` starts it.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "lwdna.cli.app",
        "lwdna.workflows.compare",
        "lwdna.workflows.search",
        "lwdna.workflows.training",
        "lwdna.models.small_input",
        "lwdna.tasks.classification.task",
        "timm",
        "torchvision",
    ]
)


@dataclass(frozen=True)
class Running:
    """A process of its own, whose output goes into files."""

    process: BaseProcess
    output: Path

    @property
    def at_work(self) -> bool:
        return self.process.is_alive()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def end(self, timeout: float = 300) -> tuple[int, str, str]:
        """Wait until it has ended; return its exit code, output and errors."""
        self.process.join(timeout)
        assert not self.at_work, "a process hangs"
        assert self.process.exitcode is not None
        out, err = ((self.output / name).read_text() for name in ("out", "err"))
        return self.process.exitcode, out, err


def begin(*arguments: object, own_group: bool = False) -> Running:
    """Start ``lwdna`` with some arguments in the current folder, if wished in a group of its own.

    A signal to the group reaches all its processes, as one from a terminal does. Processes that
    the command itself starts (``--jobs``) are forked, too.
    """
    return call(lwdna, list(map(str, arguments)), own_group)


def call(function: Callable[..., object], *arguments: object) -> Running:
    """Let a process call a function of a module, in the current folder."""
    output = Path(tempfile.mkdtemp())
    process = SERVER.Process(target=_call, args=(Path.cwd(), output, function, arguments))
    process.start()
    return Running(process, output)


def _call(folder: Path, output: Path, function: Callable[..., object], arguments: Any) -> None:
    import torch

    os.chdir(folder)
    torch.set_num_threads(1)
    for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
        os.dup2(os.open(output / name, os.O_WRONLY | os.O_CREAT), stream.fileno())
    function(*arguments)


def lwdna(arguments: list[str], own_group: bool = False) -> None:
    """Be a command of lwdna; of the process that it is called in nothing is left."""
    from lwdna.cli.app import main

    if own_group:
        os.setsid()
    get_context = multiprocessing.get_context
    forked = {"spawn": "fork"}
    multiprocessing.get_context = lambda name=None: get_context(forked.get(name, name))
    sys.argv = ["lwdna", *arguments]
    main()


def in_processes(count: int, work: Callable[..., None], *arguments: object) -> None:
    """Let processes that know of each other, as torchrun's do, call a function of a module."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        SERVER.Process(target=_member, args=((rank, count), port, work, arguments))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * count


def _member(
    place: tuple[int, int], port: int, work: Callable[..., None], arguments: tuple[object, ...]
) -> None:
    import torch

    torch.set_num_threads(1)
    rank, count = place
    launcher = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "WORLD_SIZE": count}
    local = {"LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
    os.environ.update({name: str(value) for name, value in (launcher | local).items()})
    work(*arguments)
