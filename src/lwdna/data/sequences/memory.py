"""Decoded frames in memory, those used last, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from lwdna.data.image_files import Pixels

MAX_BYTES = 2 * 10**9
"""Ten short sequences fit, so that training decodes each of their frames once."""


class FrameMemory:
    """Frames by name; the one unused for longest goes first.

    Args:
        max_bytes: of all frames together; 0 keeps none.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._frames: OrderedDict[str, Pixels] = OrderedDict()
        self._lock = Lock()

    def get(self, name: str, read: Callable[[], Pixels]) -> Pixels:
        """Return the frame kept under ``name``, not to be written to, or read and keep it."""
        with self._lock:
            kept = self._frames.get(name)
            if kept is not None:
                self._frames.move_to_end(name)
                return kept
        frame = read()
        frame.flags.writeable = False
        self._keep(name, frame)
        return frame

    def _keep(self, name: str, frame: Pixels) -> None:
        if frame.nbytes > self._max_bytes:
            return
        with self._lock:
            if name in self._frames:  # another thread was faster
                return
            self._frames[name] = frame
            self._bytes += frame.nbytes
            while self._bytes > self._max_bytes:
                self._bytes -= self._frames.popitem(last=False)[1].nbytes
