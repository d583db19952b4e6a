"""Examples made by threads while the network is busy with those before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def mapped_ahead(
    function: Callable[[A], B], items: Iterable[A], threads: int, ahead: int
) -> Iterator[B]:
    """Yield ``function(item)`` of each item in order, computed before it is asked for.

    Decoding and resampling images let other threads run, so that threads do.

    Args:
        function: is called by several threads at once.
        items: are taken when their turn comes near.
        threads: how many.
        ahead: results that are begun but not yet asked for, at most.

    Raises:
        Exception: what ``function`` raises, when its result is asked for.
    """
    waiting: deque[Future[B]] = deque()
    left = iter(items)
    pool = ThreadPoolExecutor(threads)
    try:
        for item in left:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
