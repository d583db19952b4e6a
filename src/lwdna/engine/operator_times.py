"""Times of single operators, measured once per machine and kept."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lwdna.channels.graph.operators import Operator, Slot, TensorForm, memory_order
from lwdna.engine.machine import machine, versions
from lwdna.errors import FileError
from lwdna.files import cache_folder, read_json, write_json

WARM_UPS, REPEATS = 2, 9
RECENT = 4
"""Results that stay alive for the next operators to read, as those of a network do."""
BURST = 20
"""How often an accelerator runs an operator before it is waited for."""

Shapes = tuple[tuple[int, ...], ...]


class Job(NamedTuple):
    """An operator with inputs of given shapes."""

    operator: Operator
    shapes: Shapes

    @property
    def key(self) -> str:
        """All that the time depends on, as text."""
        operator = self.operator
        tensors = [
            f"{form.dtype}{list(shape)}"
            + (f"@{list(form.order)}" if form.order else "")
            + ("*" if form.constant else "")
            for form, shape in zip(operator.inputs, self.shapes, strict=True)
        ]
        arguments = map(repr, operator.arguments_at(self.shapes))
        return f"{operator.full_name}({', '.join(arguments)}; {', '.join(tensors)})"


class OperatorTimes:
    """Milliseconds of operators at given shapes; what was measured before is read from a file.

    The file is in ``$XDG_CACHE_HOME/lwdna``, one for each machine, torch version, number of
    threads and device. A file that is damaged or cannot be written is as good as none.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.facts = {"torch": versions()["torch"], "device": str(device), **machine()}
        digest = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()[:16]
        self.path: Path = cache_folder() / f"operator-times-{digest}.json"
        self._times = self._read()

    def learn(self, jobs: Sequence[Job]) -> None:
        """Measure the jobs that are not known yet.

        They run in the order given, again and again, each reading what those before it have
        written where the shapes allow, so that caches and allocator are in the state in which a
        forward pass finds them. Of several processes the first measures for all.
        """
        together = dist.is_available() and dist.is_initialized()
        if not together or dist.get_rank() == 0:
            self._learn(jobs)
        if together:
            known = [self._times]
            dist.broadcast_object_list(known, src=0)
            self._times = known[0]

    def _learn(self, jobs: Sequence[Job]) -> None:
        keys = [job.key for job in jobs]
        if all(key in self._times for key in keys):
            return
        found = measure(jobs, self.device)
        self._times = {**dict(zip(keys, found, strict=True)), **self._read(), **self._times}
        try:
            write_json(self.path, {"machine": self.facts, "milliseconds": self._times})
        except FileError:
            return

    def milliseconds(self, job: Job) -> float | None:
        """Return the time of a job that was learnt; None where it does not run."""
        return self._times[job.key]

    def _read(self) -> dict[str, float | None]:
        try:
            return dict(read_json(self.path)["milliseconds"])
        except (FileError, KeyError, TypeError, ValueError):
            return {}


@torch.no_grad()
def measure(jobs: Sequence[Job], device: torch.device) -> list[float | None]:
    """Return each job's median time over passes through all of them; None where it fails."""
    runs = [_Run(job, device) for job in jobs]
    spare: dict[Any, Tensor] = {}
    times: list[list[float]] = [[] for _ in jobs]
    for repeat in range(WARM_UPS + REPEATS):
        recent: dict[Any, Tensor] = {}
        for run, found in zip(runs, times, strict=True):
            seconds = run.once(recent, spare)
            if repeat >= WARM_UPS and seconds is not None:
                found.append(seconds)
    return [1e3 * statistics.median(found) if found else None for found in times]


class _Run:
    """A job made ready: operator, arguments, and what tensors they need."""

    def __init__(self, job: Job, device: torch.device) -> None:
        self.job, self.device = job, device
        self.operator = job.operator.overload
        self.count = 1 if device.type == "cpu" else BURST
        arguments, schema = job.operator.arguments_at(job.shapes), self.operator._schema.arguments
        split = sum(not argument.kwarg_only for argument in schema)
        self.positional = arguments[:split]
        self.named = {a.name: v for a, v in zip(schema[split:], arguments[split:], strict=True)}
        self.fails = False

    def once(self, recent: dict[Any, Tensor], spare: dict[Any, Tensor]) -> float | None:
        """Run it; ``recent`` are results of those before, ``spare`` other tensors by shape."""
        if self.fails:
            return None
        tensors = []
        for form, shape in zip(self.job.operator.inputs, self.job.shapes, strict=True):
            key = form.dtype, shape, form.order
            tensor = None if form.constant else recent.get(key)
            if tensor is None:
                tensor = spare.get((*key, form.constant))
            if tensor is None:
                tensor = spare[*key, form.constant] = _tensor(form, shape, self.device)
            tensors.append(tensor)
        positional = _filled(self.positional, tensors)
        named = {name: _filled(value, tensors) for name, value in self.named.items()}
        del tensors
        try:
            _wait(self.device)
            start = time.perf_counter()
            for _ in range(self.count):
                result = self.operator(*positional, **named)
            _wait(self.device)
            seconds = (time.perf_counter() - start) / self.count
        except Exception:  # these sizes do not fit its other arguments
            self.fails = True
            return None
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.numel():
                dtype = str(leaf.dtype).removeprefix("torch.")
                key = dtype, tuple(leaf.shape), memory_order(leaf)
                recent.pop(key, None)
                recent[key] = leaf
        while len(recent) > RECENT:
            recent.pop(next(iter(recent)))
        return seconds


def _tensor(form: TensorForm, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return positive values (as variances are), or zeros where they may be positions."""
    dtype = getattr(torch, form.dtype)
    order = form.order or tuple(range(len(shape)))
    tensor = torch.empty_permuted(shape, order, dtype=dtype, device=device)
    return tensor.uniform_(0.5, 1.5) if dtype.is_floating_point else tensor.zero_()


def _filled(value: Any, tensors: Sequence[Tensor]) -> Any:
    if isinstance(value, Slot):
        return tensors[value.index]
    return [_filled(item, tensors) for item in value] if isinstance(value, tuple) else value


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
