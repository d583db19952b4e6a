"""List images in class folders (ImageNet's layout) and in Tiny-ImageNet's validation folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import make_dataset

from lwdna.errors import DataError
from lwdna.tasks.classification.images import Labels
from lwdna.tasks.image_files import EXTENSIONS

Listing = tuple[list[str], Labels]


@dataclass(frozen=True)
class Folder:
    """Class names below ``root``, and how to list the images of some of them.

    ``scan`` takes class names and returns paths relative to ``root`` with the numbers of their
    classes in the list given.
    """

    root: Path
    classes: tuple[str, ...]
    scan: Callable[[Sequence[str]], Listing]


def list_folder(root: Path) -> Folder:
    """Look at a folder ``<class>/<image>``, as torchvision's ``ImageFolder`` does.

    Images may lie deeper in a class folder (as Tiny-ImageNet's ``train/<class>/images`` do).

    Raises:
        DataError: there are no class folders; ``scan``: a class folder has no images.
    """
    classes = tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir()))
    if not classes:
        raise DataError(f"{root} has no class folders; expected {root.name}/<class>/<image>")

    def scan(wanted: Sequence[str]) -> Listing:
        numbers = {name: number for number, name in enumerate(wanted)}
        found = make_dataset(
            str(root), class_to_idx=numbers, extensions=EXTENSIONS, allow_empty=True
        )
        labels = np.array([number for _, number in found], dtype=np.int64)
        _check_filled(root, wanted, labels)
        prefix = len(str(root)) + 1
        return [path[prefix:] for path, _ in found], labels

    return Folder(root, classes, scan)


def list_annotated(root: Path, classes: Sequence[str]) -> Folder:
    """Look at Tiny-ImageNet's ``val``: ``images/<image>`` and ``val_annotations.txt``.

    Raises:
        DataError: the annotations cannot be read or name an unknown class; ``scan``: a class has
            no images.
    """
    path = root / "val_annotations.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}; restore it") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        fields = line.split("\t")
        safe = len(fields) >= 2 and fields[0] == Path(fields[0]).name
        if not safe or fields[1] not in classes:
            raise DataError(
                f"line {number} of {path} is not '<image><tab><class>...' with a class of train/; "
                "restore the file"
            )
        pairs.append((f"images/{fields[0]}", fields[1]))
    pairs.sort()

    def scan(wanted: Sequence[str]) -> Listing:
        numbers = {name: number for number, name in enumerate(wanted)}
        kept = [(name, numbers[label]) for name, label in pairs if label in numbers]
        labels = np.array([label for _, label in kept], dtype=np.int64)
        _check_filled(root, wanted, labels)
        return [name for name, _ in kept], labels

    return Folder(root, tuple(classes), scan)


def _check_filled(root: Path, classes: Sequence[str], labels: Labels) -> None:
    empty = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)
    if len(empty):
        more = f" (and {len(empty) - 1} more classes)" if len(empty) > 1 else ""
        raise DataError(
            f"the class folder {root / classes[empty[0]]} has no images{more}; add images "
            f"({', '.join(EXTENSIONS)}) or remove the folder"
        )
