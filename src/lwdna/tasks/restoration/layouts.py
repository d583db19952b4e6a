"""Find images to restore, and their low-resolution versions, in the layouts that sets come in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from lwdna.data.image_files import EXTENSIONS
from lwdna.data.remote import local_copy
from lwdna.data.stored import stored_files
from lwdna.engine.fingerprint import Stored
from lwdna.errors import DataError
from lwdna.tasks.restoration.settings import RestorationSettings


@dataclass(frozen=True)
class Pair:
    """An image to restore; ``small`` is its low-resolution version where the set has one."""

    name: str
    target: Path
    small: Path | None = None

    @property
    def folder(self) -> str:
        """The folder that a recipe names, in which the image lies."""
        return self.name.rpartition("/")[0]


def find_pairs(settings: RestorationSettings) -> tuple[list[Pair], list[Pair]]:
    """Return the training and the validation images.

    Raises:
        DataError: a folder is missing or has no images, or a low-resolution image is missing.
    """
    if settings.kind == "photos":
        train, val = (_photo(name) for name in ("china", "flower"))
        return [train], [val]
    if settings.root is None:
        raise DataError("which images? set data.root (--data) to a folder of images")
    root = local_copy(settings.root)
    if not root.is_dir():
        raise DataError(f"data.root {root} is not a folder; give the folder of the data set")
    halves = []
    for key, names, usual, limit in (
        ("train", settings.train, ("DIV2K_train_HR", "train"), settings.train_limit),
        ("val", settings.val, ("DIV2K_valid_HR", "val"), settings.val_limit),
    ):
        chosen = names or [name for name in usual if (root / name).is_dir()][:1]
        if not chosen:
            raise DataError(
                f"{root} has no folder {' or '.join(usual)}; name the folders of images with "
                f"data.{key}=[NAME, ...]"
            )
        pairs = [pair for name in chosen for pair in pairs_in(root / name, settings.scale)]
        halves.append(pairs[:limit])
    return halves[0], halves[1]


def pairs_in(folder: Path, scale: int | None) -> list[Pair]:
    """Return the images of one folder in the order of their names.

    Three layouts are known: ``NAME_HR`` beside ``NAME_LR_bicubic/X2`` (DIV2K), ``HR`` and
    ``LR_bicubic/X2`` inside the folder (the benchmarks Set5, Set14, B100, Urban100), and images
    alone. Low-resolution images are called ``STEMx2``.

    Raises:
        DataError: the folder is missing or has no images, or a low-resolution image is missing.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; name folders below data.root")
    images = folder / "HR" if (folder / "HR").is_dir() else folder
    small = folder / "LR_bicubic"
    if images is folder and folder.name.endswith("_HR"):
        small = folder.with_name(folder.name.removesuffix("_HR") + "_LR_bicubic")
    if scale is not None:
        small = small / f"X{scale}"
    paths = _images(images)
    if not paths:
        raise DataError(
            f"{images} has no images ({', '.join(EXTENSIONS)}); name the folder that holds them"
        )
    titles = _titles(folder.name, paths)
    if scale is None or not small.is_dir():
        return [Pair(title, path) for title, path in zip(titles, paths, strict=True)]
    available = {path.stem: path for path in _images(small)}
    pairs = []
    for title, path in zip(titles, paths, strict=True):
        wanted = f"{path.stem}x{scale}"
        if wanted not in available:
            raise DataError(
                f"{small} has no image {wanted} for {path}; complete the set, or move {small} "
                "away to make all of them on the fly"
            )
        pairs.append(Pair(title, path, available[wanted]))
    return pairs


def stored_pairs(pairs: Sequence[Pair]) -> Stored:
    """Return how images lie on disk, those of low resolution after the others."""
    listed = [(f"{pair.folder}/{pair.target.name}", pair.target) for pair in pairs]
    listed += [
        (f"{pair.folder}/small/{pair.small.name}", pair.small)
        for pair in pairs
        if pair.small is not None
    ]
    return stored_files(
        path=lambda number: str(listed[number][1]),
        names=[os.fsencode(name) for name, _ in listed],
        labels=np.zeros(len(listed), dtype=np.int64),
    )


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)


def _titles(folder: str, paths: Sequence[Path]) -> list[str]:
    """Name images by their stem, or by their whole file name where two share a stem."""
    stems = Counter(path.stem for path in paths)
    return [f"{folder}/{path.stem if stems[path.stem] == 1 else path.name}" for path in paths]


def _photo(name: str) -> Pair:
    folder = files("sklearn.datasets") / "images"
    return Pair(f"photos/{name}", Path(str(folder / f"{name}.jpg")))
