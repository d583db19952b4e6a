"""Batches made ahead of the training, beside what the GPU is doing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import torch
from torch import Tensor

Images = tuple[Tensor, Tensor]
_AHEAD = 2
"""Batches that wait to be trained on."""


def prefetched(batches: Iterator[Images], device: torch.device) -> Iterator[Images]:
    """Yield batches that a thread makes ahead, on a stream of its own.

    Args:
        batches: on the device; nobody else goes on with them meanwhile.
        device: a CUDA device.
    """
    ready: queue.Queue[tuple[Images, torch.cuda.Event] | BaseException | None]
    ready = queue.Queue(_AHEAD)
    ended = threading.Event()

    def put(item: tuple[Images, torch.cuda.Event] | BaseException | None) -> None:
        while not ended.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            with torch.cuda.device(device), torch.cuda.stream(torch.cuda.Stream(device)):
                for batch in batches:
                    made = torch.cuda.Event()
                    made.record()
                    put((batch, made))
                    if ended.is_set():
                        return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="lwdna-prefetch", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            batch, made = item
            here = torch.cuda.current_stream(device)
            here.wait_event(made)
            for tensor in batch:
                tensor.record_stream(here)  # its memory is not given away before this is done
            yield batch
    finally:
        ended.set()
        thread.join()
