"""Decoded images kept between runs in ``$XDG_CACHE_HOME/lwdna`` (``~/.cache/lwdna``)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lwdna.arrays import read_arrays, write_arrays
from lwdna.data.image_files import Pixels
from lwdna.errors import FileError
from lwdna.files import ABANDONED, cache_folder, remove_unfinished

MIN_SECONDS = 2.0
"""What took less to decode is decoded again."""


def cached(key: str | None, make: Callable[[], Pixels]) -> Pixels:
    """Return the array kept under ``key``, or make it and keep it.

    A cache that is damaged or cannot be written is as good as none.

    Args:
        key: a digest of all that the array depends on; ``None`` if it is not worth keeping.
        make: makes the array.
    """
    if key is None:
        return make()
    path = cache_folder() / f"images-{key}.safetensors"
    kept = _read(path)
    if kept is not None:
        return kept
    start = time.monotonic()
    pixels = make()
    if time.monotonic() - start >= MIN_SECONDS:
        _write(path, pixels)
    return pixels


def _read(path: Path) -> Pixels | None:
    try:
        pixels = read_arrays(path, checked=True).get("pixels")
    except FileError:
        return None
    return pixels if pixels is not None and pixels.dtype == np.uint8 and pixels.ndim == 4 else None


def _write(path: Path, pixels: Pixels) -> None:
    remove_unfinished(path.parent, older_than=ABANDONED)
    try:
        write_arrays(path, {"pixels": pixels})
    except FileError:
        return
