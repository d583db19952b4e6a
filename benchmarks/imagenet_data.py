"""A synthetic folder of JPEG files of ImageNet's sizes."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIZES = ((500, 375), (500, 375), (500, 333), (375, 500), (500, 400), (400, 300), (640, 480))
"""Width and height; ImageNet's are on average about 470 by 390."""
_CHUNK = 64


def write_folder(root: Path, count: int, *, classes: int = 100, unique: int, seed: int = 0) -> None:
    """Write ``train`` and a small ``val`` in class folders.

    Textures whose spectrum falls as that of photographs, at quality 90: about 110 kB for 500 by 375
    pixels, as ImageNet's files are.

    Args:
        root: a new folder.
        count: training images.
        classes: folders.
        unique: how many different files there are; the others are hard links to these.
        seed: what the pixels follow from.
    """
    classes, pool = min(classes, count), root / "pool"
    pool.mkdir(parents=True)
    starts = range(0, min(unique, count), _CHUNK)
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        jobs = [
            workers.submit(_write, pool, start, min(start + _CHUNK, unique, count), seed)
            for start in starts
        ]
        for job in jobs:
            job.result()
    files = sorted(pool.iterdir())
    for split, number in (("train", count), ("val", classes)):
        for label in range(classes):
            (root / split / f"class{label:04d}").mkdir(parents=True)
        for index in range(number):
            place = root / split / f"class{index % classes:04d}" / f"{index:07d}.jpg"
            os.link(files[index % len(files)], place)
    for file in files:
        file.unlink()
    pool.rmdir()


def _write(folder: Path, start: int, stop: int, seed: int) -> None:
    for index in range(start, stop):
        width, height = _SIZES[index % len(_SIZES)]
        image = Image.fromarray(_texture(height, width, np.random.default_rng((seed, index))))
        image.save(folder / f"{index:07d}.jpg", quality=90)


def _texture(height: int, width: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return noise whose amplitudes fall with frequency, uint8, shape (H, W, 3)."""
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.sqrt(down**2 + across**2)
    frequency[0, 0] = 1 / max(height, width)

    def noise(power: float) -> NDArray[np.float64]:
        phases = np.exp(2j * np.pi * generator.random(frequency.shape))
        plane = np.fft.irfft2(phases / frequency**power, s=(height, width))
        return plane / plane.std()

    brightness = noise(1.1)
    planes = np.stack([brightness + 0.4 * noise(1.3) for _ in range(3)], axis=2)
    return np.clip(planes / planes.std() * 55 + 120, 0, 255).astype(np.uint8)
