"""Find out which data set lies in a folder, and list its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lwdna.errors import DataError, nearest
from lwdna.tasks.classification.archives import list_archive
from lwdna.tasks.classification.arrow import ArrowImages, is_arrow, list_arrow
from lwdna.tasks.classification.folders import list_annotated, list_folder
from lwdna.tasks.classification.images import (
    ArrayImages,
    FolderImages,
    ImageSet,
    Labels,
    ZipImages,
    as_names,
)
from lwdna.tasks.classification.settings import DataSettings, Kind
from lwdna.tasks.classification.shards import find_shards, list_shards

LAYOUT = (
    "train/<class>/<image> and val/<class>/<image>, Tiny-ImageNet's val/images with "
    "val_annotations.txt, train.zip and test.zip, torchvision's cifar-10-batches-py or "
    "cifar-100-python, WebDataset's train-*.tar and val-*.tar, or Parquet or Arrow files of "
    "Hugging Face datasets"
)


@dataclass(frozen=True)
class Source:
    """A data set as found: its kind, the classes in use, and its two halves."""

    kind: Kind
    all_classes: int
    """Number of classes of the whole set, whatever part of them is in use."""
    classes: tuple[str, ...]
    train: ImageSet
    val: ImageSet


def open_source(settings: DataSettings) -> Source:
    """List the images that ``settings`` asks for.

    Raises:
        DataError: the folder is missing, its layout is unknown or incomplete, a class has no
            images, or an archive holds anything but images under safe names.
    """
    if settings.kind == "digits":
        return _digits(settings)
    root = settings.root
    if root is None:
        raise DataError(
            "data.root is missing; give the folder of the data set, or set data.kind to digits, "
            "which needs no files"
        )
    if not root.is_dir():
        raise DataError(
            f"there is no data folder {root}; data.root must name a folder with {LAYOUT}"
        )
    kind = _detect(root) if settings.kind == "auto" else settings.kind
    if kind in ("folder", "tiny-imagenet"):
        return _folder(settings, kind, root)
    if kind == "cifar-zip":
        return _zip(settings, root)
    if kind == "webdataset":
        return _shards(settings, root)
    if kind == "arrow":
        return _arrow(settings, root)
    return _cifar(settings, kind, root)


def _detect(root: Path) -> Kind:
    signs: dict[Kind, bool] = {
        "tiny-imagenet": (root / "val" / "val_annotations.txt").is_file(),
        "cifar10": (root / "cifar-10-batches-py").is_dir(),
        "cifar100": (root / "cifar-100-python").is_dir(),
        "cifar-zip": (root / "train.zip").is_file(),
        "webdataset": bool(find_shards(root, "train")),
        "arrow": is_arrow(root),
    }
    # these may have a folder of that name, too
    others: tuple[Kind, ...] = ("tiny-imagenet", "webdataset", "arrow")
    signs["folder"] = (root / "train").is_dir() and not any(signs[kind] for kind in others)
    found = [kind for kind, present in signs.items() if present]
    if len(found) > 1:
        raise DataError(
            f"{root} holds several data sets ({', '.join(found)}); say which with data.kind"
        )
    if not found:
        raise DataError(f"{root} holds no data set that lwdna knows; expected {LAYOUT}")
    return found[0]


def _folder(settings: DataSettings, kind: Kind, root: Path) -> Source:
    train = root / "train"
    val = root / "val" if (root / "val").is_dir() else root / "test"
    for folder in (train, val):
        if not folder.is_dir():
            raise DataError(
                f"{root} has no folder {'train' if folder is train else 'val'}; expected "
                "train/<class>/<image> and val/<class>/<image>"
            )
    listed = list_folder(train)
    annotated = (val / "val_annotations.txt").is_file()
    checked = list_annotated(val, listed.classes) if annotated else list_folder(val)
    _same_classes(listed.classes, checked.classes, str(train), str(val))
    chosen = _choose(listed.classes, settings.classes)
    halves = []
    for part, limit in ((listed, settings.train_limit), (checked, settings.val_limit)):
        names, labels = part.scan([listed.classes[number] for number in chosen])
        kept = _limit(labels, limit)
        halves.append(FolderImages(part.root, as_names(names)[kept], labels[kept]))
    classes = tuple(listed.classes[number] for number in chosen)
    return Source(kind, len(listed.classes), classes, *halves)


def _zip(settings: DataSettings, root: Path) -> Source:
    train, val = root / "train.zip", root / "test.zip"
    if not val.is_file() and (root / "val.zip").is_file():
        val = root / "val.zip"
    for path in (train, val):
        if not path.is_file():
            raise DataError(
                f"{root} has no {path.name}; expected train.zip and test.zip with entries "
                "train/<class>/<image> and test/<class>/<image>"
            )
    listed, checked = list_archive(train), list_archive(val)
    _same_classes(listed.classes, checked.classes, str(train), str(val))
    chosen = _choose(listed.classes, settings.classes)
    halves = []
    for part, limit in ((listed, settings.train_limit), (checked, settings.val_limit)):
        kept, labels = _select(part.labels, chosen, limit)
        halves.append(ZipImages(part.path, as_names(part.names)[kept], labels))
    classes = tuple(listed.classes[number] for number in chosen)
    return Source("cifar-zip", len(listed.classes), classes, *halves)


def _shards(settings: DataSettings, root: Path) -> Source:
    halves = []
    for split in ("train", "val"):
        paths = find_shards(root, split)
        if split == "val":
            paths = paths or find_shards(root, "validation") or find_shards(root, "test")
        if not paths:
            raise DataError(f"{root} has no {split} shards; expected {split}-*.tar")
        halves.append(list_shards(paths))
    count = 1 + max(int(half.labels.max()) for half in halves)
    chosen = _choose([str(number) for number in range(count)], settings.classes)
    limits = (settings.train_limit, settings.val_limit)
    parts = [
        half.take(*_select(half.labels, chosen, limit))
        for half, limit in zip(halves, limits, strict=True)
    ]
    return Source("webdataset", count, tuple(str(number) for number in chosen), *parts)


def _arrow(settings: DataSettings, root: Path) -> Source:
    train, val = list_arrow(root, "train"), list_arrow(root, "val")
    _same_classes(train.classes, val.classes, train.title, val.title)
    chosen = _choose(train.classes, settings.classes)
    halves = []
    for part, limit in ((train, settings.train_limit), (val, settings.val_limit)):
        rows, labels = _select(part.labels, chosen, limit)
        halves.append(ArrowImages(part.title, part.table, part.column, rows, labels))
    classes = tuple(train.classes[number] for number in chosen)
    return Source("arrow", len(train.classes), classes, *halves)


def _cifar(settings: DataSettings, kind: Kind, root: Path) -> Source:
    """Read torchvision's CIFAR files.

    They are pickles. torchvision unpickles them only after their MD5 sums were found to be those
    of the original files, so nothing unknown is ever unpickled.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    loader: Callable[..., CIFAR10] = CIFAR10 if kind == "cifar10" else CIFAR100
    archive = "cifar-10-python.tar.gz" if kind == "cifar10" else "cifar-100-python.tar.gz"
    try:
        train, val = loader(str(root), train=True), loader(str(root), train=False)
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"{root} holds no intact {kind} in torchvision's format (files are missing or differ "
            f"from the originals); unpack a fresh {archive} there"
        ) from error
    parts = [(part.data, np.array(part.targets, dtype=np.int64)) for part in (train, val)]
    return _arrays(settings, kind, tuple(train.classes), parts)


def _digits(settings: DataSettings) -> Source:
    """scikit-learn's 1797 digits of 8x8 pixels; every fifth of each class is for validation."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    held_out = _rank(labels) % 5 == 4
    parts = [(pixels[part], labels[part]) for part in (~held_out, held_out)]
    return _arrays(settings, "digits", tuple(str(digit) for digit in range(10)), parts)


def _arrays(
    settings: DataSettings,
    kind: Kind,
    names: tuple[str, ...],
    parts: Sequence[tuple[NDArray[np.uint8], Labels]],
) -> Source:
    chosen = _choose(names, settings.classes)
    halves = []
    limits = (settings.train_limit, settings.val_limit)
    for (pixels, labels), limit, title in zip(parts, limits, ("train", "val"), strict=True):
        kept, renumbered = _select(labels, chosen, limit)
        halves.append(ArrayImages(f"{kind} ({title})", pixels[kept], renumbered))
    return Source(kind, len(names), tuple(names[number] for number in chosen), *halves)


def _choose(known: Sequence[str], wanted: int | tuple[str, ...] | None) -> list[int]:
    """Return the numbers of the classes wanted, in the order of ``known``."""
    if wanted is None:
        return list(range(len(known)))
    if isinstance(wanted, int):
        if wanted > len(known):
            raise DataError(
                f"data.classes asks for {wanted} classes, but the data set has {len(known)}; "
                f"give at most {len(known)}"
            )
        return list(range(wanted))
    for name in wanted:
        if name not in known:
            raise DataError(
                f"data.classes names no class of this data set: {name}"
                f"{nearest(name, known) or '; use names of its class folders'}"
            )
    return [number for number, name in enumerate(known) if name in wanted]


def _select(
    labels: Labels, chosen: Sequence[int], limit: int | None
) -> tuple[NDArray[np.int64], Labels]:
    """Return the positions of the examples in use and their classes, numbered anew."""
    new_number = np.full(max(int(labels.max()), *chosen) + 1, -1, dtype=np.int64)
    new_number[list(chosen)] = np.arange(len(chosen))
    renumbered = new_number[labels]
    kept = np.flatnonzero(renumbered >= 0)
    kept = kept[_limit(renumbered[kept], limit)]
    return kept, renumbered[kept]


def _limit(labels: Labels, limit: int | None) -> NDArray[np.int64]:
    """Return the positions of the first ``limit`` examples of each class, in ascending order."""
    if limit is None:
        return np.arange(len(labels))
    return np.flatnonzero(_rank(labels) < limit)


def _rank(labels: Labels) -> NDArray[np.int64]:
    """Return how many earlier examples have the same class, for each example."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order], side="left")
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - starts
    return rank


def _same_classes(train: Sequence[str], val: Sequence[str], train_name: str, val_name: str) -> None:
    missing = sorted(set(train) ^ set(val))
    if missing:
        name = missing[0]
        here, there = (train_name, val_name) if name in train else (val_name, train_name)
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"the class {name} is in {here} but not in {there}{more}; both need the same classes"
        )
