"""Random numbers that depend on (seed, epoch, example, purpose) and on nothing else.

Each number is a hash of a counter (SplitMix64, Steele et al. 2014), so an example is augmented
alike in whatever batch, process or order it comes, and no generator's state has to be saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_MASK = 0xFFFFFFFFFFFFFFFF


class Stream(IntEnum):
    """What a number is used for; different streams are independent."""

    CROP = 1
    FLIP = 2
    ERASE = 3
    COLOUR = 4
    MIX = 5
    NOISE = 6
    SEQUENCE = 7
    FRAMES = 8
    PROPOSALS = 9


@dataclass(frozen=True)
class Draws:
    """Where the random numbers of one example come from, whose count is not known beforehand."""

    seed: int
    epoch: int
    index: int

    def generator(self, stream: Stream) -> np.random.Generator:
        """Return a generator that begins anew."""
        return np.random.default_rng(draw_seed(self.seed, self.epoch, self.index, stream))


def draw_seed(seed: int, epoch: int, index: int, stream: Stream) -> int:
    """Return a seed in [0, 2**63) for a generator of one example."""
    return _mix(_base(seed, epoch, stream) + index * _GOLDEN) >> 1


def uniforms(seed: int, epoch: int, indices: Tensor, count: int, stream: Stream) -> Tensor:
    """Return ``count`` numbers in [0, 1) per example.

    Args:
        seed: seed of the run.
        epoch: number of the epoch.
        indices: example numbers, int64, shape (B,).
        count: how many numbers each example gets.
        stream: their purpose.

    Returns:
        Float32, shape (B, count), on the device of ``indices``.
    """
    keys = _mix_tensor(indices * _signed(_GOLDEN) + _signed(_base(seed, epoch, stream)))
    steps = torch.arange(1, count + 1, dtype=torch.int64, device=indices.device)
    bits = _mix_tensor(keys[:, None] + steps * _signed(_GOLDEN))
    return _shift(bits, 40).to(torch.float32) * 2.0**-24


def _base(seed: int, epoch: int, stream: Stream) -> int:
    return _mix(_mix(_mix(seed) + epoch) + stream)


def _mix(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def _mix_tensor(value: Tensor) -> Tensor:
    """:func:`_mix` on int64 tensors, whose sums and products wrap around as unsigned ones do."""
    value = value + _signed(_GOLDEN)
    value = (value ^ _shift(value, 30)) * _signed(_FIRST)
    value = (value ^ _shift(value, 27)) * _signed(_SECOND)
    return value ^ _shift(value, 31)


def _shift(value: Tensor, bits: int) -> Tensor:
    """Shift to the right, filling with zeros (``>>`` copies the sign)."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
