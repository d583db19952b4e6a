"""Folders that belong to one process at a time.

A lock is one of the operating system's: it ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lwdna.errors import FileError, LockedError

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


@contextmanager
def locked(file: Path, *, wait: bool = False, required: bool = True) -> Iterator[bool]:
    """Hold the lock of a file, which is made here and removed afterwards; yield whether it is held.

    Args:
        file: says who holds it. Its folder must exist.
        wait: whether to wait for others to end, however long.
        required: whether it is an error that the file system knows no locks; otherwise False is
            yielded.

    Raises:
        LockedError: another process holds it; it is named.
        FileError: the file cannot be written, or the file system knows no locks.
    """
    # a "soft" lock would outlive a process that is killed
    lock = FileLock(file, thread_local=False, fallback_to_soft=False)
    held = True
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        raise LockedError(_described(file)) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            why = error.strerror or error
            raise FileError(f"cannot write {file}: {why}; choose another folder") from error
        if required:
            raise FileError(
                f"the file system of {file.parent} knows no locks, by which processes tell their "
                "work apart; choose another folder (--out)"
            ) from error
        held = False
    try:
        if held:
            with suppress(OSError):  # a full disk: nobody will know who holds it
                file.write_text(json.dumps(_oneself()), encoding="utf-8")
        yield held
    finally:
        if held:
            with suppress(OSError):  # before it is free: afterwards it may be somebody else's
                file.unlink()
        lock.release()


def _oneself() -> dict[str, Any]:
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    return {"host": socket.gethostname(), "process": os.getpid(), "since": now}


def _described(file: Path) -> str:
    who = "another process"
    with suppress(OSError, ValueError, TypeError, LookupError):  # not written down yet
        holder = json.loads(file.read_text(encoding="utf-8"))
        who = f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    return (
        f"{file.parent} is being written by {who}; wait until it ends, stop it, or choose another "
        "folder (--out)"
    )
