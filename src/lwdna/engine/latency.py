"""How long one forward pass takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn

from lwdna.inputs import Inputs, call, device_of, move


def measure_latency(
    model: nn.Module, example_inputs: Inputs, *, warmup: int = 5, repeats: int = 30
) -> float:
    """Return the median time in milliseconds of one forward pass in eval mode.

    Args:
        model: measured on the device of its parameters; its mode (train or eval) is kept.
        example_inputs: usually of one example, as the network takes them; an image is (1, C, H, W).
        warmup: passes before the clock starts (allocations, kernel selection).
        repeats: passes timed one by one.
    """
    return compare_latency([model], example_inputs, warmup=warmup, repeats=repeats)[0]


@torch.no_grad()
def compare_latency(
    models: Sequence[nn.Module], example_inputs: Inputs, *, warmup: int = 5, repeats: int = 30
) -> list[float]:
    """Return the latency of several networks on one device, as :func:`measure_latency` does.

    They run in turns, so that what else the machine does slows all of them alike.
    """
    first = next((p for model in models for p in model.parameters()), None)
    device = device_of(example_inputs) if first is None else first.device
    inputs = move(example_inputs, device)
    modes = [model.training for model in models]
    times: list[list[float]] = [[] for _ in models]
    for model in models:
        model.eval()
    try:
        for number in range(warmup + repeats):
            for model, taken in zip(models, times, strict=True):
                _wait(device)
                start = time.perf_counter()
                call(model, inputs)
                _wait(device)
                if number >= warmup:
                    taken.append(time.perf_counter() - start)
    finally:
        for model, mode in zip(models, modes, strict=True):
            model.train(mode)
    return [statistics.median(taken) * 1e3 for taken in times]


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
