"""One way to get an Accelerator, and to hand a network back as it came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from torch import Tensor, nn

from lwdna.engine.settings import Precision
from lwdna.errors import TrainingError

_LEFT_BY_ACCELERATE = ("forward", "_original_forward", "_is_accelerate_prepared")


def make_accelerator(mixed_precision: Precision) -> Accelerator:
    """Return an Accelerator for this process: devices and processes as the launcher set them.

    Raises:
        TrainingError: fp16 without a GPU.
    """
    # Accelerate keeps precision in a process-wide state and refuses to change it. A second run
    # in one process may well want another one; devices and process group stay.
    AcceleratorState._reset_state(reset_partial_state=False)
    accelerator = Accelerator(
        mixed_precision=mixed_precision,
        # Without this, processes started by torchrun on CPUs would not know of each other.
        cpu=not torch.accelerator.is_available(),
        # The loop accumulates by itself, whatever the launcher's environment says.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
    if mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise TrainingError("mixed precision fp16 needs a GPU; use bf16 or no on this machine")
    return accelerator


@contextmanager
def prepared(
    accelerator: Accelerator, model: nn.Module, *, evaluation: bool = False
) -> Iterator[nn.Module]:
    """Yield ``model`` on its device, in mixed precision and, for training, shared by processes.

    Afterwards ``model`` is an ordinary module again, without Accelerate's patched ``forward``.
    """
    before = {name: vars(model)[name] for name in _LEFT_BY_ACCELERATE if name in vars(model)}
    try:
        yield accelerator.prepare_model(model, evaluation_mode=evaluation)
    finally:
        for name in _LEFT_BY_ACCELERATE:
            vars(model).pop(name, None)
        vars(model).update(before)


def share_buffers(accelerator: Accelerator, model: nn.Module) -> None:
    """Give every process the buffers (running statistics) of the first one."""
    if accelerator.num_processes > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)


def as_channels_last(value: Tensor) -> Tensor:
    """Return images (4 axes) in channels-last memory format and any other tensor as it is."""
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
