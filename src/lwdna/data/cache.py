"""Decoded images kept between runs in ``$XDG_CACHE_HOME/lwdna`` (``~/.cache/lwdna``)."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lwdna.data.image_files import Pixels
from lwdna.errors import FileError
from lwdna.files import atomic, cache_folder

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
        with safe_open(path, framework="numpy") as file:
            pixels: Pixels = file.get_tensor("pixels")
            whole = (file.metadata() or {}).get("crc32") == str(zlib.crc32(pixels.data))
    except (OSError, SafetensorError):
        return None
    return pixels if whole and pixels.dtype == np.uint8 and pixels.ndim == 4 else None


def _write(path: Path, pixels: Pixels) -> None:
    try:
        with atomic(path) as temporary:
            save_file(
                {"pixels": pixels},
                temporary,
                metadata={"crc32": str(zlib.crc32(pixels.data))},
            )
    except (FileError, SafetensorError):
        return
