"""What others do inside the training loop: between gradients and step, after it, at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EndCheck:
    """Says whether a training ends. Once ended, it stays ended when it is resumed."""

    every: int
    """Optimizer steps between two looks, counted from the very beginning."""
    met: Callable[[], bool]
    """Whether to end after this step. It must follow from the parameters alone; what the first
    process finds counts for all."""


@dataclass(frozen=True)
class Hooks:
    """What is called in every process at every optimizer step.

    What they do to the parameters must follow from the parameters' values alone. They do not go
    with ``pad_channels``, which trains a copy and gives the network its weights in the end.
    """

    before_step: Callable[[int], None] | None = None
    """Called with the number of steps done, when the next one's gradients are there. What it adds
    to them is not clipped."""
    after_step: Callable[[float], None] | None = None
    """Called with the learning rate at scale 1 after the step."""
    end_check: EndCheck | None = None
    """May end the training after a step."""
