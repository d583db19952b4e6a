"""Class folders, ImageNet's layout: ``train/<class>/<image>`` and ``val/<class>/<image>``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lwdna.data.data_format import DataFormat, Half, register_format
from lwdna.data.image_files import EXTENSIONS
from lwdna.data.images import FolderImages, Labels, as_names
from lwdna.errors import DataError


@register_format("folder")
class ClassFolders(DataFormat):
    """Class folders, as torchvision's ``ImageFolder`` reads them; ``test`` will do for ``val``."""

    layout = "train/<class>/<image> and val/<class>/<image>"

    def detect(self, root: Path) -> bool:
        return (root / "train").is_dir()

    def open(self, root: Path) -> tuple[Half, Half]:
        train, val = split_folders(root)
        return FolderHalf.of(train, training=True), FolderHalf.of(val)


@dataclass(frozen=True)
class FolderHalf:
    """A folder of class folders; those of classes not in use are not looked into."""

    root: Path
    classes: tuple[str, ...]
    training: bool

    @classmethod
    def of(cls, root: Path, *, training: bool = False) -> FolderHalf:
        """Look at a folder ``<class>/<image>``.

        Images may lie deeper in a class folder (as Tiny-ImageNet's ``train/<class>/images`` do).
        Hidden folders are none of a class.

        Args:
            root: the folder.
            training: whether every class must have images.

        Raises:
            DataError: there are no class folders; :meth:`images`: the folder of a class to learn
                has no images.
        """
        names = (entry.name for entry in root.iterdir() if entry.is_dir())
        classes = tuple(sorted(name for name in names if not name.startswith(".")))
        if not classes:
            raise DataError(f"{root} has no class folders; expected {root.name}/<class>/<image>")
        return cls(root, classes, training)

    @property
    def title(self) -> str:
        return str(self.root)

    def images(self, chosen: Sequence[int]) -> FolderImages:
        from torchvision.datasets.folder import make_dataset

        wanted = [self.classes[number] for number in chosen]
        numbers = {name: number for number, name in enumerate(wanted)}
        found = make_dataset(
            str(self.root), class_to_idx=numbers, extensions=EXTENSIONS, allow_empty=True
        )
        labels = np.array([number for _, number in found], dtype=np.int64)
        if self.training:
            _check_filled(self.root, wanted, labels)
        prefix = len(str(self.root)) + 1
        return FolderImages(self.root, as_names([path[prefix:] for path, _ in found]), labels)


def split_folders(root: Path) -> tuple[Path, Path]:
    """Return the folders of training and of validation images.

    Raises:
        DataError: one is missing.
    """
    train = root / "train"
    val = root / "val" if (root / "val").is_dir() else root / "test"
    for folder in (train, val):
        if not folder.is_dir():
            raise DataError(
                f"{root} has no folder {'train' if folder is train else 'val'}; expected "
                "train/<class>/<image> and val/<class>/<image>"
            )
    return train, val


def _check_filled(root: Path, classes: Sequence[str], labels: Labels) -> None:
    """Make sure that every class to learn has images.

    Raises:
        DataError: naming the folder of the first class that has none.
    """
    empty = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)
    if len(empty):
        more = f" (and {len(empty) - 1} more classes)" if len(empty) > 1 else ""
        raise DataError(
            f"the class folder {root / classes[empty[0]]} has no images{more}; add images "
            f"({', '.join(EXTENSIONS)}), remove the class from training and validation, or name "
            "the classes to use (data.classes=[NAME, ...])"
        )
