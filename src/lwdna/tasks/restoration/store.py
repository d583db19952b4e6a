"""Decoded images of many sizes in one flat array, in memory or mapped from a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lwdna.data.image_files import DECODING, Pixels, decode, open_file, size_of
from lwdna.data.progress import follow
from lwdna.errors import DataError
from lwdna.files import cache_folder
from lwdna.tasks.restoration.degrade import resize_bicubic
from lwdna.tasks.restoration.layouts import Pair
from lwdna.tasks.restoration.mapped import MappedParts
from lwdna.tasks.restoration.settings import RestorationSettings

_MAX_BYTES = 2 * 10**9


class ImageStore:
    """Images to restore and, for super-resolution, their low-resolution versions.

    Targets are cut to a multiple of the scale. A file mapped into memory is kept in the cache
    folder between runs; it is made again when an image has changed.

    Args:
        pairs: the images.
        settings: scale, channels, and whether to hold them in memory.
        least: height and width that every target must have.

    Raises:
        DataError: an image is missing, damaged or too small; low resolution does not fit.
        FileError: the file to map cannot be written.
    """

    def __init__(self, pairs: Sequence[Pair], settings: RestorationSettings, least: int) -> None:
        self._pairs = pairs
        self._scale = settings.scale
        self._channels = settings.in_chans
        self._sizes = [self._size_of(pair, least) for pair in pairs]
        counts = [self._channels * height * width for height, width in self._sizes]
        smaller = [count // self._scale**2 if self._scale else 0 for count in counts]
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._small_starts = self._starts[-1] + np.concatenate([[0], np.cumsum(smaller)])
        total = int(self._small_starts[-1])
        held = settings.in_memory
        self._bounds = np.concatenate([self._starts, self._small_starts[1:]])
        self._mapped: MappedParts | None = None
        if held is True or (held == "auto" and total < _MAX_BYTES):
            self._flat: Pixels = np.empty(total, dtype=np.uint8)
            self._decode_all(self._flat)
        else:
            path = cache_folder() / f"restoration-{self._key()}.bin"
            self._mapped = MappedParts(path, self._bounds, self._decode_all)

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, number: int) -> str:
        """Return the folder and the stem of an image's file."""
        return self._pairs[number].name

    def target(self, number: int) -> Pixels:
        """Return an image to restore, shape (C, H, W); not to be written to."""
        height, width = self._sizes[number]
        return self._part(number).reshape(self._channels, height, width)

    def small(self, number: int) -> Pixels:
        """Return its low-resolution version, shape (C, H / scale, W / scale)."""
        assert self._scale is not None, "only super-resolution has low-resolution images"
        height, width = self._sizes[number]
        small = self._part(len(self) + number)
        return small.reshape(self._channels, height // self._scale, width // self._scale)

    def _size_of(self, pair: Pair, least: int) -> tuple[int, int]:
        """Return height and width of a target as it is used, from the header of its file."""
        width, height = size_of(open_file(str(pair.target)))
        if min(width, height) < least:
            raise DataError(
                f"the image {pair.target} has {width}x{height} pixels, less than the {least}x"
                f"{least} needed; remove it from the set, or lower data.patch_size if it is for "
                "training"
            )
        factor = self._scale or 1
        return height - height % factor, width - width % factor

    def _part(self, number: int) -> Pixels:
        """Return the bytes of a target, or those of the low-resolution versions after them."""
        if self._mapped is not None:
            return self._mapped[number]
        return self._flat[self._bounds[number] : self._bounds[number + 1]]

    def _key(self) -> str:
        """Return a digest of everything that the flat array depends on."""
        digest = hashlib.sha256(f"{DECODING} {self._scale} {self._channels}".encode())
        for pair in self._pairs:
            for path in (pair.target, pair.small):
                if path is not None:
                    state = path.stat()
                    digest.update(os.fsencode(path.resolve()))
                    digest.update(f"\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
        return digest.hexdigest()[:32]

    def _decode_all(self, flat: Pixels) -> None:
        def work(number: int) -> int:
            pair, (height, width) = self._pairs[number], self._sizes[number]
            target = read_pixels(pair.target, self._channels)[:, :height, :width]
            flat[self._starts[number] : self._starts[number + 1]] = target.reshape(-1)
            if self._scale is not None:
                small = self._small_of(pair, target, self._scale)
                start, stop = self._small_starts[number : number + 2]
                flat[start:stop] = small.reshape(-1)
            return 1

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            try:
                follow(pool.map(work, range(len(self._pairs))), len(self._pairs))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _small_of(self, pair: Pair, target: Pixels, scale: int) -> Pixels:
        height, width = target.shape[1] // scale, target.shape[2] // scale
        if pair.small is None:
            values = torch.from_numpy(np.ascontiguousarray(target)).float().div(255)
            return to_pixels(resize_bicubic(values[None], height, width)[0])
        small = read_pixels(pair.small, self._channels)
        # MATLAB rounds the size up, so that a row or column may be left over
        if not (0 <= small.shape[1] - height <= 1 and 0 <= small.shape[2] - width <= 1):
            raise DataError(
                f"the image {pair.small} has {small.shape[2]}x{small.shape[1]} pixels, but a "
                f"{scale}th of {pair.target} would have {width}x{height}; restore the set"
            )
        return small[:, :height, :width]


def read_pixels(path: Path, in_chans: int) -> Pixels:
    """Read an image file as RGB, or grey if ``in_chans`` is 1; shape (C, H, W).

    Raises:
        DataError: it is missing, damaged, or has values that cannot be taken for brightness.
    """
    return as_pixels(decode(open_file(str(path)), in_chans, str(path)))


def as_pixels(image: Image.Image) -> Pixels:
    """Return the pixels of an image of RGB or grey; shape (C, H, W)."""
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def to_pixels(image: Tensor) -> Pixels:
    """Turn values from 0 to 1 into the 256 levels of an image file, NaN into black; the shape
    stays."""
    levels: Pixels = (
        image.detach().nan_to_num(0.0).mul(255).round().clamp(0, 255).byte().cpu().numpy()
    )
    return levels
