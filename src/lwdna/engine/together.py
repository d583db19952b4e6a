"""Processes that were launched together: the first decides, and all do alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from lwdna.errors import LwdnaError

T = TypeVar("T")


def is_first() -> bool:
    """Whether this process decides."""
    return bool(_processes().is_main_process)


def by_first(work: Callable[[], T]) -> T | None:
    """Let the first process do something, whose result it gets; its error is that of all.

    Raises:
        LwdnaError: the first process did.
    """
    done, fault = None, None
    if is_first():
        try:
            done = work()
        except LwdnaError as error:
            fault = error
    fault = shared(fault)
    if fault is not None:
        raise fault
    return done


def shared(value: T) -> T:
    """Return the value of the first process."""
    if _processes().num_processes == 1:
        return value
    held = [value]
    broadcast_object_list(held)
    return held[0]


def _processes() -> PartialState:
    """Return what a launcher's processes know of each other: found out once, then at hand.

    A comparison asks for each of its cells, and making an Accelerator takes a millisecond.
    """
    return PartialState(cpu=not torch.accelerator.is_available())
