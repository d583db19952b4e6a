"""Class folders: ``train/<class>/<image>`` and ``val/<class>/<image>``, or ``<class>/<image>``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lwdna.data.data_format import DataFormat, Half, register_format
from lwdna.data.image_files import EXTENSIONS
from lwdna.data.images import FolderImages, ImageSet, Labels, as_names
from lwdna.data.listing import (
    Listing,
    holds_images,
    images_in,
    list_images,
    stray_note,
    unread_note,
    visible_folders,
)
from lwdna.data.remote import Folder, RemoteFolder, RemoteImages
from lwdna.errors import DataError

TRAIN = ("train", "training")
VAL = ("val", "valid", "validation", "test", "testing")
"""What folders of halves are called, in any letters; of several the first counts."""


@register_format("folder")
class ClassFolders(DataFormat):
    """Class folders, as torchvision's ``ImageFolder`` reads them, with the usual names of halves.

    Without folders of halves the class folders lie in the root. Where there is no validation set,
    one is split off.
    """

    layout = "train/<class>/<image> and val/<class>/<image>, or <class>/<image>"

    def detect(self, root: Path) -> bool:
        folders = visible_folders(root)
        if _named(folders, TRAIN) or _named(folders, VAL):
            return True
        inside = [root / name for name in folders]
        # whole data sets side by side are no classes
        return not any(_named(visible_folders(folder), TRAIN) for folder in inside) and any(
            holds_images(folder) for folder in inside
        )

    def open_remote(self, root: RemoteFolder) -> tuple[Half, Half | None]:
        return self.open(root)

    def open(self, root: Folder) -> tuple[Half, Half | None]:
        train, val, note = halves_in(root)
        if train is None:
            return FolderHalf.of_root(root), None
        first = FolderHalf.of(root / train, training=True, remarks=(note,) if note else ())
        return first, FolderHalf.of(root / val) if val else None


@dataclass(frozen=True)
class FolderHalf:
    """A folder of class folders; those of classes not in use are not looked into."""

    root: Folder
    classes: tuple[str, ...]
    training: bool
    remarks: tuple[str, ...] = ()
    """What is to be said of it, whatever its images are."""
    _seen: dict[str, Listing] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls, root: Folder, *, training: bool = False, remarks: tuple[str, ...] = ()
    ) -> FolderHalf:
        """Look at a folder ``<class>/<image>``.

        Images may lie deeper in a class folder (as Tiny-ImageNet's ``train/<class>/images`` do).
        Hidden folders are none of a class, hidden files no images.

        Args:
            root: the folder.
            training: whether every class must have images.
            remarks: what is to be said of it.

        Raises:
            DataError: there are no class folders; :meth:`images`: the folder of a class to learn
                has no images.
        """
        classes = tuple(visible_folders(root))
        if not classes:
            raise DataError(f"{root} has no class folders; expected {root.name}/<class>/<image>")
        return cls(root, classes, training, (*remarks, stray_note(root, images_in(root))))

    @classmethod
    def of_root(cls, root: Folder) -> FolderHalf:
        """Look at a data set that has no halves; a folder without images is none of a class.

        Raises:
            DataError: there are no class folders, or one that holds the classes.
        """
        half = cls.of(root, training=True)
        filled = [name for name in half.classes if half.listing(name).images]
        if len(filled) == 1 and len(inside := visible_folders(root / filled[0])) > 1:
            raise DataError(
                f"{root} has one class folder only, {filled[0]}, in which there are "
                f"{', '.join(inside[:3])}; if these are the classes, give {root / filled[0]}"
            )
        empty = [name for name in half.classes if name not in filled]
        folders = f"folder {empty[0]}" if len(empty) == 1 else f"folders {', '.join(empty[:5])}"
        left = (f"left out the {folders} in {root}: no images",) if empty else ()
        return cls(root, tuple(filled), True, (*half.remarks, *left), half._seen)

    @property
    def title(self) -> str:
        return str(self.root)

    def images(self, chosen: Sequence[int]) -> ImageSet:
        wanted = [self.classes[number] for number in chosen]
        found = [[f"{name}/{image}" for image in self.listing(name).images] for name in wanted]
        labels = np.repeat(np.arange(len(wanted), dtype=np.int64), [len(names) for names in found])
        if self.training:
            _check_filled(self.root, wanted, labels)
        packed = as_names([n for names in found for n in names])
        if isinstance(self.root, RemoteFolder):
            return RemoteImages.of(self.root, packed, labels)
        return FolderImages(self.root, packed, labels)

    def notes(self) -> tuple[str, ...]:
        """Return sentences about what was left out of the folders that were looked into."""
        unread = sum((listing.unread for listing in self._seen.values()), Counter[str]())
        return tuple(filter(None, [*self.remarks, unread_note(self.root, unread)]))

    def listing(self, name: str) -> Listing:
        """Return what lies in a class folder, which is looked into once."""
        if name not in self._seen:
            self._seen[name] = list_images(self.root / name)
        return self._seen[name]


def halves_in(root: Folder) -> tuple[str | None, str | None, str]:
    """Return the names of the folders of training and of validation images, and a note on others.

    Returns:
        None for a half that has no folder. Without both, the set is not divided.

    Raises:
        DataError: there are validation images only.
    """
    folders = visible_folders(root)
    train, val = (_named(folders, names) for names in (TRAIN, VAL))
    if not train and val:
        raise DataError(
            f"{root} has a folder {val[0]}, but no folder train; expected train/<class>/<image> "
            "and val/<class>/<image>"
        )
    if train[1:]:
        raise DataError(f"{root} has several folders to train on: {', '.join(train)}; keep one")
    unused = " and ".join(val[1:])
    note = f"left out {unused} in {root}: {val[0]} is validated on" if unused else ""
    return train[0] if train else None, val[0] if val else None, note


def _named(folders: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the folders that are called by one of the names, in the names' order."""
    found = [folder for folder in folders if folder.lower() in names]
    return sorted(found, key=lambda folder: names.index(folder.lower()))


def _check_filled(root: Folder, classes: Sequence[str], labels: Labels) -> None:
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
