"""Bytes that are mapped from a file of the cache, in parts that are checked at the first look."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lwdna.data.image_files import Pixels
from lwdna.errors import FileError
from lwdna.files import ABANDONED, atomic, remove_unfinished


class MappedParts:
    """Parts of a flat array that need not fit in memory.

    The file holds them one after the other, then a CRC-32 of each. It is made if it is not there.

    Args:
        path: the file.
        bounds: where parts begin, and where the last one ends, (parts + 1,).
        make: fills the array.

    Raises:
        FileError: the file cannot be written.
    """

    def __init__(
        self, path: Path, bounds: NDArray[np.int64], make: Callable[[Pixels], None]
    ) -> None:
        self._path = path
        self._bounds = bounds.tolist()
        self._total = self._bounds[-1]
        if not path.is_file() or path.stat().st_size != self._total + 4 * (len(bounds) - 1):
            self._make(make)
        whole: Pixels = np.memmap(path, dtype=np.uint8, mode="r")
        self._flat = whole[: self._total]
        self._sums = np.frombuffer(whole[self._total :].tobytes(), dtype="<u4").tolist()
        self._good: set[int] = set()

    def __getitem__(self, part: int) -> Pixels:
        """Return a part, not to be written to.

        Raises:
            FileError: it is not what was written.
        """
        found = self._flat[self._bounds[part] : self._bounds[part + 1]]
        if part not in self._good:
            if zlib.crc32(found.data) != self._sums[part]:
                raise FileError(
                    f"{self._path}, which keeps decoded images, is damaged; delete it, and it will "
                    "be made again"
                )
            self._good.add(part)
        return found

    def _make(self, make: Callable[[Pixels], None]) -> None:
        remove_unfinished(self._path.parent, older_than=ABANDONED)
        with atomic(self._path) as temporary:
            flat = np.memmap(temporary, dtype=np.uint8, mode="w+", shape=(self._total,))
            make(flat)
            flat.flush()
            sums = [zlib.crc32(flat[start:end].data) for start, end in pairwise(self._bounds)]
            del flat
            with temporary.open("ab") as file:
                file.write(np.array(sums, dtype="<u4").tobytes())
