"""How long one forward pass takes."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn


@torch.no_grad()
def measure_latency(
    model: nn.Module, example_inputs: Tensor, *, warmup: int = 5, repeats: int = 30
) -> float:
    """Return the median time in milliseconds of one forward pass in eval mode.

    Args:
        model: measured on the device of its parameters; its mode (train or eval) is kept.
        example_inputs: usually one image, shape (1, C, H, W).
        warmup: passes before the clock starts (allocations, kernel selection).
        repeats: passes timed one by one.
    """
    device = next((p.device for p in model.parameters()), example_inputs.device)
    inputs = example_inputs.to(device)
    was_training = model.training
    model.eval()
    times = []
    try:
        for i in range(warmup + repeats):
            _wait(device)
            start = time.perf_counter()
            model(inputs)
            _wait(device)
            if i >= warmup:
                times.append(time.perf_counter() - start)
    finally:
        model.train(was_training)
    return statistics.median(times) * 1e3


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
