"""Tar files of a data set: local ones, and those of a storage, which are fetched when needed."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lwdna.errors import DataError, FileError
from lwdna.files import ABANDONED, cache_folder, remove_unfinished
from lwdna.locks import locked
from lwdna.storage import failures, fetch_file, open_storage

T = TypeVar("T")
_BLOCK = 2**20
"""Bytes that are read at once to list a shard: its small images with their headers. Larger ones
are skipped."""


class Shard(Protocol):
    """A tar file."""

    @property
    def title(self) -> str:
        """What to call it."""
        ...

    @property
    def state(self) -> str:
        """Changes with it."""
        ...

    def list(self) -> IO[bytes]:
        """Open it to be read once, from front to end, with gaps."""
        ...

    def local(self) -> str:
        """Return the path of a local file that holds it.

        Raises:
            FileError: it cannot be fetched.
        """
        ...


@dataclass(frozen=True)
class LocalShard:
    """A tar file on a disk."""

    path: str

    @property
    def title(self) -> str:
        return self.path

    @property
    def state(self) -> str:
        state = os.stat(self.path)
        return f"{Path(self.path).resolve()}\0{state.st_size}\0{state.st_mtime_ns}\0"

    def list(self) -> IO[bytes]:
        return open(self.path, "rb")

    def local(self) -> str:
        return self.path


@dataclass(frozen=True)
class RemoteShard:
    """A tar file in a storage.

    Args:
        url: its address.
        size: bytes.
        stored: what the storage says that changes with it.
    """

    url: str
    size: int
    stored: str

    @property
    def title(self) -> str:
        return self.url

    @property
    def state(self) -> str:
        return f"{self.url}\0{self.stored}\0"

    def list(self) -> IO[bytes]:
        with failures(f"cannot read {self.url}"):
            files, path = open_storage(self.url)
            opened: IO[bytes] = files.open(
                path, "rb", block_size=_BLOCK, cache_type="readahead", size=self.size
            )
            return opened

    def local(self) -> str:
        """Fetch the shard, unless that was done; make room for it by the use of others.

        Processes that need the same shard wait for the one that fetches it.
        """
        digest = hashlib.sha256(self.state.encode(errors="surrogateescape")).hexdigest()[:32]
        path = cache_folder() / "shards" / f"{digest}.tar"
        if not _touched(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(path.with_suffix(".lock"), wait=True, required=False):
                if not _touched(path):
                    _make_room(path.parent, self.size, cache_limit())
                    fetch_file(self.url, path, self.size)
        return str(path)


def cache_limit() -> int:
    """Return how many bytes all shards may take that this machine has fetched.

    Raises:
        DataError: ``LWDNA_CACHE_GB`` is no positive number.
    """
    given = os.environ.get("LWDNA_CACHE_GB", "50")
    try:
        limit = int(float(given) * 1e9)
    except (ValueError, OverflowError):
        limit = 0
    if limit < 1:
        raise DataError(f"LWDNA_CACHE_GB is {given!r}; give gigabytes, for example 200")
    return limit


def check_room(shards: Sequence[Shard], at_once: int | None) -> None:
    """Make sure that the shards that are in use together fit the cache.

    Args:
        shards: of the training images.
        at_once: how many of them are in use at a time; None is all.

    Raises:
        DataError: they do not.
    """
    sizes = sorted((one.size for one in shards if isinstance(one, RemoteShard)), reverse=True)
    limit = cache_limit()
    if at_once is None and sum(sizes) > limit:
        raise DataError(
            f"the shards have {sum(sizes) / 1e9:.3g} GB, more than this machine keeps of them "
            f"({limit / 1e9:g} GB): go through a few at a time (data.shards_at_once=8), or give "
            "them more room (the environment variable LWDNA_CACHE_GB)"
        )
    if at_once is not None and 2 * sum(sizes[: at_once + 1]) > limit and sum(sizes) > limit:
        raise DataError(
            f"{at_once} shards at a time, and those that follow, need "
            f"{2 * sum(sizes[: at_once + 1]) / 1e9:.3g} GB, more than this machine keeps of them "
            f"({limit / 1e9:g} GB); lower data.shards_at_once, or give them more room (the "
            "environment variable LWDNA_CACHE_GB)"
        )


def _touched(path: Path) -> bool:
    """Whether a file is there; it is noted that it was used."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True


def _make_room(folder: Path, wanted: int, limit: int) -> None:
    """Remove the shards that were not used for the longest time."""
    remove_unfinished(folder, older_than=ABANDONED)
    there = []
    for path in folder.glob("*.tar"):
        with suppress(OSError):  # somebody else removed it
            state = path.stat()
            there.append((state.st_mtime_ns, state.st_size, path))
    room = limit - sum(size for _, size, _ in there)
    for _, size, path in sorted(there):
        if room >= wanted:
            return
        with suppress(OSError):
            path.unlink()
        room += size


@runtime_checkable
class InShards(Protocol):
    """What an :class:`lwdna.data.images.ImageSet` may say more: its images lie in shards."""

    @property
    def files(self) -> tuple[Shard, ...]:
        """The shards."""
        ...

    @property
    def shards(self) -> NDArray[np.int32]:
        """The number of the shard of each image, shape (N,)."""
        ...


@runtime_checkable
class FetchesAhead(Protocol):
    """What an :class:`lwdna.data.images.ImageSet` may say more: it fetches what will be read."""

    def ahead(self, batches: Iterator[T], indices: Sequence[Sequence[int]]) -> Iterator[T]:
        """Yield batches, while what the next of them are read from is fetched.

        Args:
            batches: read one by one.
            indices: the images of each of them.
        """
        ...


def fetched_ahead(
    batches: Iterator[T], uses: Sequence[Sequence[int]], shards: Sequence[RemoteShard]
) -> Iterator[T]:
    """Yield batches; meanwhile fetch the shards that they use, in this order.

    At most half of the cache is filled with shards that are not in use yet, so that those in use
    stay.

    Args:
        batches: read one by one.
        uses: the numbers of the shards of each of them.
        shards: by number.
    """
    first = {number: place for place, used in reversed([*enumerate(uses)]) for number in used}
    waiting = sorted((place, number) for number, place in first.items())
    passed, moved = [0], threading.Event()
    ended = threading.Event()

    def fetch() -> None:
        ready: list[tuple[int, int]] = []
        for place, number in waiting:
            shard = shards[number]
            while not ended.is_set():
                ready = [one for one in ready if one[0] > passed[0]]
                filled = sum(size for _, size in ready)
                if not ready or filled + shard.size <= cache_limit() / 2:
                    break
                moved.wait(1.0)
                moved.clear()
            if ended.is_set():
                return
            with suppress(FileError, OSError):  # who reads it will say so
                shard.local()
            ready.append((place, shard.size))

    thread = threading.Thread(target=fetch, name="lwdna-shards", daemon=True)
    try:
        for number, batch in enumerate(batches):
            if number == 0:  # processes that read have been forked, better without a thread
                thread.start()
            passed[0] = number
            moved.set()
            yield batch
    finally:
        ended.set()
        moved.set()


def opened(shard: Shard) -> IO[bytes]:
    """Open a shard on this machine.

    Raises:
        FileError: it cannot be fetched.
        OSError: it cannot be read.
    """
    try:
        return open(shard.local(), "rb")
    except FileNotFoundError:
        if isinstance(shard, LocalShard):
            raise
        return open(shard.local(), "rb")  # another process had needed the room
