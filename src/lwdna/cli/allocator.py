"""How the process asks the operating system for memory; for training on a CPU (docs/running.md)."""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's ``mallopt`` (mallopt(3))."""
_CHOSEN = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


def reuse_memory() -> bool:
    """Take large tensors in huge pages, and keep freed memory for the next ones.

    Every iteration of training allocates the same large tensors anew. By default glibc returns each
    to the system when it is freed and has its pages cleared and mapped again for the next.
    Settings that the user made in the environment stay, and other C libraries have no such switch.

    Returns:
        Whether freed memory is kept.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if any(name in os.environ for name in _CHOSEN):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - musl's and macOS's have no such function
        mallopt = library.mallopt
    except (OSError, TypeError, AttributeError):  # TypeError: Windows needs a name
        return False
    kept = bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
    # for processes that share the work (--jobs)
    os.environ.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(2**31 - 1))
    return kept
