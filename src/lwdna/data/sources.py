"""Find out in which format a data set lies in a folder, and list the images that are asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lwdna.data.classes import (
    absent,
    check_learnt,
    choose_classes,
    first_of_each,
    scarce,
    strangers,
    validation_images,
)
from lwdna.data.data_format import FORMATS, Half, HasNotes
from lwdna.data.images import FolderImages, ImageSet
from lwdna.data.listing import visible_folders
from lwdna.data.remote import Folder, RemoteFolder, RemoteImages
from lwdna.data.scan import Scan, Sizes, fault_message, scan, twins, twins_note
from lwdna.data.settings import AUTO, DataSettings
from lwdna.data.shards import InShards, check_room
from lwdna.data.split import split_note, split_off
from lwdna.errors import DataError

_SCANNED = 200_000
"""Files of a set up to which ``data.scan=auto`` decodes all of them."""
_TOLD = 3
"""Files that a note names."""


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
    sizes: tuple[int, int, int, int] | None = None
    """The smallest width and height of the images, and the largest, where they were looked at."""
    about: str = ""
    """What is to be learnt of the images, where it is not their classes."""
    left_out: tuple[str, ...] = ()
    """Files that cannot be decoded, below the folder of their half."""

    @property
    def summary(self) -> str:
        """Say in a sentence what there is to learn from."""
        train, val = len(self.train.labels), len(self.val.labels)
        said = f"{train} images to train on and {val} to validate on, "
        said += self.about or f"{len(self.classes)} classes"
        if self.sizes is None:
            return said
        least, most = (f"{width}x{height}" for width, height in (self.sizes[:2], self.sizes[2:]))
        return f"{said}, {least if least == most else f'from {least} to {most}'} pixels"


def open_source(settings: DataSettings) -> ImageSource:
    """List the images that ``settings`` asks for, and look at their files.

    Raises:
        DataError: the folder is missing, its layout is unknown or incomplete, a class has no
            images, an archive holds anything but images under safe names, or files cannot be
            decoded: all of them are named.
    """
    kind, root = _locate(settings)
    opened = FORMATS[kind]
    train, val = opened.open_remote(root) if isinstance(root, RemoteFolder) else opened.open(root)
    chosen = choose_classes(train.classes, settings.classes)
    classes = tuple(train.classes[number] for number in chosen)
    learnt, notes = train.images(chosen), []
    if val is None:
        learnt, validated = split_off(learnt, settings.split, settings.split_seed, root)
        notes.append(
            split_note(root, settings.split, settings.split_seed, learnt.labels, validated.labels)
        )
    else:
        validated = validation_images(val, classes)
        notes.append("" if settings.classes else strangers(val, train))
    check_learnt(learnt, validated, classes)
    _check_shards(learnt, settings.shards_at_once)
    source = ImageSource(
        kind,
        len(train.classes),
        classes,
        first_of_each(learnt, settings.train_limit),
        first_of_each(validated, settings.val_limit),
        (*_notes_of(train), *_notes_of(val), *notes),
    )
    source = scanned(source, settings)
    notes = [*source.notes, absent(source.val, classes), scarce(source.train, classes)]
    return replace(source, notes=tuple(filter(None, notes)))


def _check_shards(images: ImageSet, at_once: int | None) -> None:
    """Make sure that images lie in shards if so many of these are to be used at a time.

    Raises:
        DataError: they do not, or the shards are too large for that.
    """
    if isinstance(images, InShards):
        check_room(images.files, at_once)
    elif at_once is not None:
        raise DataError("data.shards_at_once is for WebDataset's shards; leave it out")


def _notes_of(half: Half | None) -> tuple[str, ...]:
    return half.notes() if isinstance(half, HasNotes) else ()


def scanned(source: ImageSource, settings: DataSettings) -> ImageSource:
    """Look at all files, if they are to be looked at; leave out those that cannot be decoded.

    Raises:
        DataError: some cannot be decoded and are not to be left out, or none are left.
    """
    halves = source.train, source.val
    files = [half for half in halves if isinstance(half, FolderImages)]
    count = sum(len(half.labels) for half in files)
    remote = [half.url for half in halves if isinstance(half, RemoteImages)]
    if remote and (settings.skip_damaged or settings.scan is True):
        raise DataError(
            f"images in {remote[0]} are not decoded beforehand; leave out data.scan and "
            "data.skip_damaged, or fetch the data set"
        )
    if settings.scan is False or not files:
        return source
    if settings.scan == AUTO and count > _SCANNED and not settings.skip_damaged:
        note = f"{count} files were not looked at beforehand; data.scan=true does so"
        return replace(source, notes=(*source.notes, note))
    kept: list[ImageSet] = []
    faults: list[str] = []
    names: list[str] = []
    sizes: list[Sizes] = []
    looks: list[Scan] = []
    for half in halves:
        if not isinstance(half, FolderImages):
            kept.append(half)
            continue
        looks.append(seen := scan(half))
        faults += seen.faults.values()
        names += [os.fsdecode(bytes(half.names[index])) for index in seen.faults]
        good = np.setdiff1d(np.arange(len(half.labels)), list(seen.faults))
        sizes.append(seen.sizes[good])
        kept.append(half.take(good, half.labels[good]) if seen.faults else half)
    if faults and not settings.skip_damaged:
        raise DataError(fault_message(faults, count))
    said = [_skipped_note(faults, count) if faults else ""]
    if len(files) == 2:
        said.append(
            twins_note(twins((files[0], looks[0]), (files[1], looks[1])), len(files[1].labels))
        )
    left = replace(source, train=kept[0], val=kept[1], notes=(*source.notes, *said))
    _check_left(left)
    return replace(left, sizes=_range(np.concatenate(sizes)), left_out=tuple(names))


def _check_left(source: ImageSource) -> None:
    """Make sure that there is something left to learn and to validate.

    Raises:
        DataError: there is not.
    """
    check_learnt(source.train, source.val, source.classes)
    missing = np.setdiff1d(np.arange(len(source.classes)), source.train.labels)
    if len(missing) or not len(source.val.labels):
        what = (
            f"training images of {source.classes[missing[0]]}"
            if len(missing)
            else "validation images"
        )
        raise DataError(
            f"without the files that cannot be decoded no {what} are left; restore some of them"
        )


def _range(sizes: Sizes) -> tuple[int, int, int, int]:
    (width, height), (widest, highest) = sizes.min(axis=0).tolist(), sizes.max(axis=0).tolist()
    return width, height, widest, highest


def _skipped_note(faults: Sequence[str], count: int) -> str:
    more = f" and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
    return (
        f"left out {len(faults)} of {count} image files, which cannot be decoded "
        f"(data.skip_damaged): {', '.join(faults[:_TOLD])}{more}"
    )


def _locate(settings: DataSettings) -> tuple[str, Folder]:
    """Return the format and the folder of a data set."""
    kind, root = settings.kind, settings.root
    if kind != AUTO and not FORMATS[kind].needs_root:
        return kind, Path()
    if root is None:
        free = " or ".join(name for name, known in FORMATS.items() if not known.needs_root)
        raise DataError(
            f"data.root is missing; give the folder of the data set, or set data.kind to {free}, "
            "which needs no files"
        )
    if isinstance(root, str):
        listed = RemoteFolder.at(root)
        return _detect_remote(listed) if kind == AUTO else kind, listed
    if not root.is_dir():
        raise DataError(
            f"there is no data folder {root}; data.root must name a folder with {_layouts()}"
        )
    return _detect(root) if kind == AUTO else kind, root


def _detect_remote(root: RemoteFolder) -> str:
    with tempfile.TemporaryDirectory(prefix="lwdna-") as name:
        place = Path(name, root.name)
        place.mkdir()
        root.show(place)
        try:
            return _detect(place)
        except DataError as error:
            raise DataError(str(error).replace(str(place), root.url)) from error


def _detect(root: Path) -> str:
    found = [name for name, known in FORMATS.items() if known.needs_root and known.detect(root)]
    general = {other for name in found for other in FORMATS[name].supersedes}
    found = [name for name in found if name not in general]
    if len(found) > 1:
        raise DataError(
            f"{root} holds several data sets ({', '.join(found)}); say which with data.kind"
        )
    if not found:
        hint = _inside(root)
        raise DataError(f"{root} holds no data set that lwdna knows{hint}; expected {_layouts()}")
    return found[0]


def _inside(root: Path) -> str:
    """Return a hint at data sets one folder below, where archives put them when unpacked."""
    folders = [root / name for name in visible_folders(root)]
    known = [kind for kind in FORMATS.values() if kind.needs_root]
    found = [str(folder) for folder in folders if any(kind.detect(folder) for kind in known)]
    return f"; did you mean {' or '.join(found[:3])}?" if found else ""


def _layouts() -> str:
    """Return the files of every format in words, the general ones first."""
    general = {other for known in FORMATS.values() for other in known.supersedes}
    names = sorted(FORMATS, key=lambda name: name not in general)
    words = [FORMATS[name].layout for name in names if FORMATS[name].layout]
    return f"{', '.join(words[:-1])}, or {words[-1]}"
