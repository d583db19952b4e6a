"""Find out in which format a data set lies in a folder, and list the images that are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lwdna.data.classes import (
    absent,
    check_learnt,
    choose_classes,
    first_of_each,
    validation_images,
)
from lwdna.data.data_format import FORMATS
from lwdna.data.images import ImageSet
from lwdna.data.settings import AUTO, DataSettings
from lwdna.errors import DataError


@dataclass(frozen=True)
class ImageSource:
    """A data set as found: its format, the classes in use, and its two halves."""

    kind: str
    all_classes: int
    """Number of classes of the whole set, whatever part of them is in use."""
    classes: tuple[str, ...]
    train: ImageSet
    val: ImageSet
    notes: tuple[str, ...]
    """What a user should know of it."""


def open_source(settings: DataSettings) -> ImageSource:
    """List the images that ``settings`` asks for.

    Raises:
        DataError: the folder is missing, its layout is unknown or incomplete, a class has no
            images, or an archive holds anything but images under safe names.
    """
    kind, root = _locate(settings)
    train, val = FORMATS[kind].open(root)
    chosen = choose_classes(train.classes, settings.classes)
    classes = tuple(train.classes[number] for number in chosen)
    learnt = train.images(chosen)
    validated = validation_images(val, classes, train, others=settings.classes is not None)
    check_learnt(learnt, validated, classes)
    return ImageSource(
        kind,
        len(train.classes),
        classes,
        first_of_each(learnt, settings.train_limit),
        first_of_each(validated, settings.val_limit),
        tuple(filter(None, [absent(validated, classes)])),
    )


def _locate(settings: DataSettings) -> tuple[str, Path]:
    """Return the format and the folder of a data set."""
    kind, root = settings.kind, settings.root
    if kind != AUTO and not FORMATS[kind].needs_root:
        return kind, root or Path()
    if root is None:
        free = " or ".join(name for name, known in FORMATS.items() if not known.needs_root)
        raise DataError(
            f"data.root is missing; give the folder of the data set, or set data.kind to {free}, "
            "which needs no files"
        )
    if not root.is_dir():
        raise DataError(
            f"there is no data folder {root}; data.root must name a folder with {_layouts()}"
        )
    return _detect(root) if kind == AUTO else kind, root


def _detect(root: Path) -> str:
    found = [name for name, known in FORMATS.items() if known.needs_root and known.detect(root)]
    general = {other for name in found for other in FORMATS[name].supersedes}
    found = [name for name in found if name not in general]
    if len(found) > 1:
        raise DataError(
            f"{root} holds several data sets ({', '.join(found)}); say which with data.kind"
        )
    if not found:
        raise DataError(f"{root} holds no data set that lwdna knows; expected {_layouts()}")
    return found[0]


def _layouts() -> str:
    """Return the files of every format in words, the general ones first."""
    general = {other for known in FORMATS.values() for other in known.supersedes}
    names = sorted(FORMATS, key=lambda name: name not in general)
    words = [FORMATS[name].layout for name in names if FORMATS[name].layout]
    return f"{', '.join(words[:-1])}, or {words[-1]}"
