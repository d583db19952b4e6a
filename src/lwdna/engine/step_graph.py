"""Forward and backward pass of a training step as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from accelerate.utils import recursively_apply
from torch import Tensor, nn

from lwdna.engine.task import Batch
from lwdna.errors import TrainingError

_FIRST_STEPS = 3
"""Steps done one kernel at a time, in which libraries choose algorithms and take memory."""


class StepGraph:
    """Compute loss and gradients of a batch by a single launch.

    A step of a small network is several hundred kernels of a few microseconds, which Python
    cannot launch as fast as a GPU runs them. The first steps run as ever; the next one is
    recorded, and replayed from then on (https://docs.pytorch.org/docs/stable/notes/cuda.html,
    "CUDA Graphs"). Everything random on the device is drawn anew by every replay.

    Args:
        compute: makes the loss of a batch, a scalar, and the gradients of the parameters, which
            had none before. Must not look at a value on the device.
        model: whose gradients these are.
    """

    def __init__(self, compute: Callable[[Batch], Tensor], model: nn.Module) -> None:
        self._compute = compute
        self._parameters = list(model.parameters())
        self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._loss = torch.zeros(())
        self._gradients: list[Tensor | None] = []

    def __call__(self, batch: Batch) -> Tensor:
        """Return the loss; leave the gradients in the parameters.

        Raises:
            TrainingError: the step cannot be recorded.
        """
        if self._done < _FIRST_STEPS:
            self._done += 1
            return self._beside(batch, last=self._done == _FIRST_STEPS)
        if self._graph is None:
            self._graph = self._record(batch)
        given = _tensors(batch)
        if not _alike(given, self._inputs):
            return self._compute(batch)
        for kept, new in zip(self._inputs, given, strict=True):
            kept.copy_(new)
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._loss.clone()

    def _beside(self, batch: Batch, last: bool) -> Tensor:
        """Compute on another stream than the default one, which cannot be recorded."""
        here, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(here)
        # what waits for the device cannot be recorded, and a failed recording would leave torch's
        # random numbers unusable
        with torch.cuda.stream(side), _waiting_fails() if last else nullcontext():
            loss = self._compute(batch)
        here.wait_stream(side)
        return loss

    def _record(self, batch: Batch) -> torch.cuda.CUDAGraph:
        kept = recursively_apply(torch.clone, batch)
        graph = torch.cuda.CUDAGraph()
        # threads that read and pin images go on meanwhile
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._loss = self._compute(kept)
        self._inputs = _tensors(kept)
        self._gradients = [parameter.grad for parameter in self._parameters]
        return graph


@contextmanager
def _waiting_fails() -> Iterator[None]:
    """Turn operators that wait for the device into errors.

    Raises:
        TrainingError: there was one.
    """
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    except RuntimeError as error:
        if "synchronizing CUDA operation" not in str(error):
            raise
        raise TrainingError(
            "the training step cannot be recorded as a CUDA graph, because the network or its "
            "loss looks at values on the GPU; set train.cuda_graph=false"
        ) from error
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _tensors(batch: Batch) -> list[Tensor]:
    found: list[Tensor] = []
    recursively_apply(found.append, batch)
    return found


def _alike(one: list[Tensor], other: list[Tensor]) -> bool:
    return [(t.shape, t.dtype) for t in one] == [(t.shape, t.dtype) for t in other]
