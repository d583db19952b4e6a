"""Ctrl-C and SIGTERM as a wish to stop, heard between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class TrainingInterrupted(KeyboardInterrupt):
    """Training was stopped by a signal, after saving a checkpoint to resume from."""


@dataclass
class Stop:
    """Whether a signal has asked to stop."""

    requested: bool = False


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into ``Stop.requested``; a second Ctrl-C interrupts at once.

    Outside the main thread, where Python does not allow handlers, signals act as usual.
    """
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        # Launchers pass a Ctrl-C on as SIGTERM, so only a second Ctrl-C means "now".
        if stop.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.requested = True

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
