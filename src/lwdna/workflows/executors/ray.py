"""Pieces of work as tasks of a Ray cluster.

Ray starts the workers, finds room for every task and repeats those whose worker or node is lost.
What a task had saved lies in the run's folder, where the next one goes on.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lwdna.engine.executor import Ended
from lwdna.engine.signals import TrainingInterrupted
from lwdna.errors import RecipeError, TrainingError
from lwdna.workflows.executors.work import TRIES, Piece, of_the_machine

LOSSES = 100
"""How often a task may lose its worker: nodes that are lent for a while go often, and each time
something was done; a network that kills its worker must not do so for ever."""
_AHEAD = 4
"""Tasks handed to Ray for each that the cluster can do at once, so that no worker waits for the
next one."""
_SPARE = 16
"""Tasks handed to Ray beyond these: nodes may join."""
_LOOK = 10.0
"""Seconds between looks at how large the cluster is."""
_SAVING = 60.0
"""Seconds for tasks to end their step and save."""
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Of a cluster that is started here: nothing is sent to Ray's makers, and its workers, which train
in the place of this process, run with its own priority."""


def check_ray() -> None:
    """Make sure that Ray is installed.

    Raises:
        RecipeError: it is not.
    """
    if find_spec("ray") is None:
        raise RecipeError(
            "--executor ray needs Ray, which is not installed: pip install 'lwdna[ray]'"
        )


@contextmanager
def ray_cluster(address: str, gpus: float | None) -> Iterator[RayTasks]:
    """Yield what hands out tasks; inside a task, these are tasks of the same cluster.

    Args:
        address: ``ray`` for the cluster that this machine belongs to (``RAY_ADDRESS`` may name
            it), or for one of this machine alone where there is none; ``ray://HOST:PORT`` for
            another, by Ray's client.
        gpus: of each task; None is one where the cluster has any, and otherwise none.

    Raises:
        RecipeError: the cluster does not answer, or has no GPU.
    """
    import ray

    inside = ray.is_initialized()
    if not inside:
        _connect(address)
    try:
        tasks = RayTasks(gpus, inside)
        try:
            yield tasks
        finally:
            tasks.stop()
    finally:
        if not inside:
            ray.shutdown()


def _connect(address: str) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update(_SETTINGS)
    try:
        if address != "ray":
            ray.init(address, **quiet)
            return
        try:
            ray.init("auto", **quiet)
        except ConnectionError:
            if "RAY_ADDRESS" in os.environ:
                raise
            ray.init("local", include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        why = str(error).partition("\n")[0]
        raise RecipeError(
            f"there is no Ray cluster at {os.environ.get('RAY_ADDRESS', address)} ({why}); start "
            "one (ray start --head), name another (ray://HOST:PORT), or leave out --executor"
        ) from error
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _on_cpu(piece: Piece) -> tuple[Any, BaseException | None, str]:
    import ray

    return (*piece(), ray.get_runtime_context().get_node_id())


def _on_gpu(piece: Piece) -> tuple[Any, BaseException | None, str]:
    return _on_cpu(piece)  # Ray tells functions apart by their names


class RayTasks:
    """Hands out tasks (:class:`lwdna.engine.executor.Executor`)."""

    elsewhere = True
    nests = True

    def __init__(self, gpus: float | None, inside: bool) -> None:
        import ray

        self._ray = ray
        there = ray.cluster_resources().get("GPU", 0.0)
        self._gpus = (1.0 if there else 0.0) if gpus is None else gpus
        if self._gpus > there and not inside:
            raise RecipeError(
                f"every task is to have {self._gpus:g} GPUs, but the Ray cluster has {there:g}; "
                "lower --gpus-per-task (0 computes on CPUs)"
            )
        again = {"max_retries": LOSSES}
        self._task = (
            ray.remote(num_cpus=1, num_gpus=self._gpus, **again)(_on_gpu)
            if self._gpus
            else ray.remote(num_cpus=1, **again)(_on_cpu)
        )
        self._waiting = ray.remote(num_cpus=0, **again)(_on_cpu)
        self._folder = Path.cwd()
        self._flight: dict[Any, tuple[Hashable, Piece, bool, int]] = {}
        self._slots, self._looked = 1, -_LOOK

    @property
    def room(self) -> int:
        """How many tasks may be under way: more than the cluster can do at once."""
        if time.monotonic() - self._looked > _LOOK:
            resources = self._ray.cluster_resources()
            cores = resources.get("CPU", 1.0)
            share = resources.get("GPU", 0.0) / self._gpus if self._gpus else cores
            self._slots, self._looked = max(1, int(min(cores, share))), time.monotonic()
        return _AHEAD * self._slots + _SPARE

    def submit(
        self, name: Hashable, work: Callable[..., Any], *arguments: object, waits: bool = False
    ) -> None:
        """Make a task of a piece of work."""
        piece = Piece(self._folder, bool(self._gpus) and not waits, work, arguments)
        self._start(name, piece, waits, 1, None)

    def _start(
        self, name: Hashable, piece: Piece, waits: bool, number: int, node: str | None
    ) -> None:
        task = self._waiting if waits else self._task
        if node is not None:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            near = NodeAffinitySchedulingStrategy(node, soft=True)
            task = task.options(scheduling_strategy=near)
        self._flight[task.remote(piece)] = name, piece, waits, number

    def ended(self, seconds: float) -> list[Ended]:
        """Return what has ended; a task that failed on a file is first tried on other nodes.

        Raises:
            ray.exceptions.RayTaskError: a fault in the program, where its traceback is.
        """
        if not self._flight:
            return []
        ready, _ = self._ray.wait([*self._flight], num_returns=1, timeout=seconds)
        if ready and len(self._flight) > 1:
            ready, _ = self._ray.wait([*self._flight], num_returns=len(self._flight), timeout=0)
        found = []
        for reference in ready:
            name, piece, waits, number = self._flight.pop(reference)
            value, fault, node = self._fetched(reference)
            if of_the_machine(fault) and number < TRIES:
                self._start(name, piece, waits, number + 1, self._other_node(node))
            else:
                found.append(Ended(name, value, fault))
        return found

    def _fetched(self, reference: Any) -> tuple[Any, BaseException | None, str]:
        """Return value, fault and node of a task that has ended."""
        errors = self._ray.exceptions
        try:
            value, fault, node = self._ray.get(reference)
            return value, fault, node
        except errors.TaskCancelledError:
            return None, TrainingInterrupted("stopped"), ""
        except errors.RayTaskError as error:
            if isinstance(error.cause, KeyboardInterrupt):
                return None, TrainingInterrupted("stopped"), ""
            raise
        except errors.RayError as error:
            why = str(error).partition("\n")[0]
            lost = TrainingError(f"its worker was lost {LOSSES} times, at last so: {why}")
            return None, lost, ""

    def _other_node(self, node: str) -> str | None:
        """Return a node that may do better than another, if there is one."""
        nodes = [one for one in self._ray.nodes() if one["Alive"] and one["NodeID"] != node]
        able = [one for one in nodes if one["Resources"].get("GPU" if self._gpus else "CPU")]
        return able[0]["NodeID"] if able else None

    def stop(self) -> None:
        """Ask all tasks under way to save and to end; wait until they have."""
        for reference in self._flight:
            with suppress(self._ray.exceptions.RayError, ValueError):
                self._ray.cancel(reference, recursive=True)
        if self._flight:
            with suppress(self._ray.exceptions.RayError):
                self._ray.wait([*self._flight], num_returns=len(self._flight), timeout=_SAVING)
        self._flight.clear()
