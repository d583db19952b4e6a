"""CIFAR-100 as arrays: images decoded once, averaged to fewer pixels, classes."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

SPLITS = ("train", "test")
CHUNK = 2000
"""Images that a process decodes at once."""


def make_caches(folder: Path, files: Mapping[int, Path]) -> None:
    """Decode the images of a folder and write a file for each number of pixels.

    Args:
        folder: with ``train*.zip`` and ``test*.zip``, one or several of either, whose members are
            ``<split>/<class>/<image>``.
        files: what to write (bytes (N, pixels, pixels, 3), classes (N,)) by pixels.

    Raises:
        FileNotFoundError: a split has no zip.
    """
    arrays: dict[int, dict[str, np.ndarray]] = {pixels: {} for pixels in files}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for split in SPLITS:
            members = members_of(folder, split)
            kinds = sorted({PurePosixPath(name).parts[1] for name, _ in members})
            chunks = [members[at : at + CHUNK] for at in range(0, len(members), CHUNK)]
            done = list(pool.map(decoded, chunks, [tuple(files)] * len(chunks)))
            classes = [kinds.index(PurePosixPath(name).parts[1]) for name, _ in members]
            for pixels in files:
                arrays[pixels][split] = np.concatenate([one[pixels] for one in done])
                arrays[pixels][f"{split}_classes"] = np.array(classes, dtype=np.uint8)
    for pixels, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        # whole or not at all: another process may wait for the file
        part = file.with_name(f"{file.stem}.part.npz")
        np.savez(part, **arrays[pixels])
        part.replace(file)


def members_of(folder: Path, split: str) -> list[tuple[str, Path]]:
    """Return a split's images by name, each with the zip that holds it."""
    found: list[tuple[str, Path]] = []
    for file in sorted(folder.glob(f"{split}*.zip")):
        with zipfile.ZipFile(file) as archive:
            names = (name for name in archive.namelist() if not name.endswith("/"))
            found += [(name, file) for name in names if len(PurePosixPath(name).parts) == 3]
    if not found:
        raise FileNotFoundError(f"{folder} has no {split}*.zip with images")
    return sorted(found)


def decoded(members: list[tuple[str, Path]], sizes: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Return images (N, pixels, pixels, 3) for each number of pixels."""
    archives = {file: zipfile.ZipFile(file) for file in {file for _, file in members}}
    images: dict[int, list[np.ndarray]] = {pixels: [] for pixels in sizes}
    for name, file in members:
        image = Image.open(io.BytesIO(archives[file].read(name))).convert("RGB")
        for pixels in sizes:
            small = image.resize((pixels, pixels), Image.Resampling.BOX)
            images[pixels].append(np.asarray(small))
    for archive in archives.values():
        archive.close()
    return {pixels: np.stack(some) for pixels, some in images.items()}
