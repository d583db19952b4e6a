"""How long one forward pass takes."""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from lwdna.inputs import Inputs, call, device_of, move


@torch.no_grad()
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
    first = next(model.parameters(), None)
    device = device_of(example_inputs) if first is None else first.device
    inputs = move(example_inputs, device)
    was_training = model.training
    model.eval()
    times = []
    try:
        for i in range(warmup + repeats):
            _wait(device)
            start = time.perf_counter()
            call(model, inputs)
            _wait(device)
            if i >= warmup:
                times.append(time.perf_counter() - start)
    finally:
        model.train(was_training)
    return statistics.median(times) * 1e3


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
