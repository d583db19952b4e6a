"""Two Ray nodes on this machine, and what can happen to them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from ray.cluster_utils import Cluster

MEMORY = 80_000_000
"""Bytes of each node's object store, which is Ray's least; lwdna keeps nothing there."""
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # by default all other tests go first
}


class TwoNodes:
    """A cluster of two nodes with one core each, of which the second may be killed."""

    def __init__(self) -> None:
        head = {"num_cpus": 1, "object_store_memory": MEMORY, "env_vars": ENVIRONMENT}
        self._cluster = Cluster(
            initialize_head=True, head_node_args={**head, "include_dashboard": False}
        )
        self.address = self._cluster.address
        self.second: Any = None
        self.join()

    def join(self, **environment: str) -> None:
        """Let a second node join, in place of the one there is."""
        self.kill()
        given = {**ENVIRONMENT, **environment}
        with mock.patch("ray._private.utils.set_sigterm_handler"):  # not in a thread
            self.second = self._cluster.add_node(
                num_cpus=1, object_store_memory=MEMORY, env_vars=given
            )

    def kill(self) -> None:
        """Kill all processes of the second node, if there is one."""
        if self.second is not None:
            self._cluster.remove_node(self.second, allow_graceful=False)
            self.second = None

    def close(self) -> None:
        self._cluster.shutdown()

    def on_second(self, process: int) -> bool:
        """Whether a process is a worker of the second node."""
        raylet = self.second.all_processes["raylet"][0].process.pid
        return parent_of(process) == raylet


def parent_of(process: int) -> int:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def holder(lock: Path) -> int:
    """Return the process that a lock names, or 0."""
    try:
        return int(json.loads(lock.read_text())["process"])
    except (OSError, ValueError, LookupError):
        return 0


def until(condition: Callable[[], Any]) -> Any:
    """Wait until something holds; return it."""
    deadline = time.monotonic() + 120
    while not (value := condition()):
        assert time.monotonic() < deadline, "nothing happens"
        time.sleep(0.01)
    return value


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Do something in a thread beside the body; a fault there is raised here."""
    faults: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(120)
    assert not thread.is_alive()
    if faults:
        raise faults[0]
