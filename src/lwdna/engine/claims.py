"""Work that any number of processes share: a piece belongs to the one that holds its lock.

The operating system frees a lock when its process dies. Processes that were launched together work
together; the first of them decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lwdna.engine.together import by_first, shared
from lwdna.errors import FileError, LockedError
from lwdna.locks import locked


@contextmanager
def claimed(lock: Path, finished: Callable[[], bool], *, required: bool = True) -> Iterator[bool]:
    """Yield whether a piece of work is to be done here: not finished, and held by nobody else.

    Args:
        lock: the piece's lock; its folder is made if need be.
        finished: whether there is nothing to do; asked again once the lock is held.
        required: whether it is an error that the file system knows no locks; otherwise nobody is
            kept out there.

    Raises:
        FileError: the lock cannot be written, or the file system knows no locks.
    """
    with ExitStack() as stack:

        def claim() -> bool:
            if finished():
                return False
            try:
                lock.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise FileError(
                    f"cannot make {lock.parent}: {error.strerror or error}; free some space or "
                    "choose another folder (--out)"
                ) from error
            try:
                stack.enter_context(locked(lock, required=required))
            except LockedError:
                return False
            return not finished()

        yield shared(bool(by_first(claim)))
