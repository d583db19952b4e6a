"""Which classes of a data set are used, and how many examples of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lwdna.data.data_format import Half
from lwdna.data.images import ImageSet, Labels, Positions
from lwdna.errors import DataError, nearest

FEW = 5
"""A class with fewer training images is worth a note."""


def choose_classes(known: Sequence[str], wanted: int | tuple[str, ...] | None) -> list[int]:
    """Return the numbers of the classes wanted, in the order of ``known``.

    Raises:
        DataError: there are not as many, or none of such a name.
    """
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


def first_of_each(images: ImageSet, limit: int | None) -> ImageSet:
    """Keep the first ``limit`` examples of each class, in their order; ``None`` keeps all."""
    if limit is None:
        return images
    kept = np.flatnonzero(rank_in_class(images.labels) < limit)
    return images.take(kept, images.labels[kept])


def rank_in_class(labels: Labels) -> Positions:
    """Return how many earlier examples have the same class, for each example."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order], side="left")
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - starts
    return rank


def validation_images(half: Half, classes: Sequence[str]) -> ImageSet:
    """Return the validation images of the classes that are learnt, numbered as these are.

    Classes go by their names. One without validation images is legitimate, images of other classes
    are left out.

    Args:
        half: all validation images.
        classes: names of the classes that are learnt.

    Raises:
        DataError: there are no images of the classes that are learnt.
    """
    known = {name: number for number, name in enumerate(half.classes)}
    shared = sorted(known[name] for name in classes if name in known)
    if not shared:
        raise DataError(_no_images(half))
    images = half.images(shared)
    if not len(images.labels):
        raise DataError(_no_images(half))
    new = np.array([classes.index(half.classes[number]) for number in shared], dtype=np.int64)
    if np.array_equal(new, np.arange(len(new))):
        return images
    return images.take(np.arange(len(images.labels)), new[images.labels])


def strangers(half: Half, train: Half) -> str:
    """Return a sentence that names classes of which only validation images are there, or ``""``."""
    numbers = [number for number, name in enumerate(half.classes) if name not in train.classes]
    labels = half.images(numbers).labels if numbers else np.zeros(0, dtype=np.int64)
    if not len(labels):
        return ""
    names = _some([half.classes[numbers[place]] for place in np.unique(labels)])
    images = "image" if len(labels) == 1 else "images"
    return (
        f"left out {len(labels)} validation {images} in {half.title} of {names}, which "
        f"{train.title} lacks, so that nothing can learn it"
    )


def check_learnt(train: ImageSet, val: ImageSet, classes: Sequence[str]) -> None:
    """Make sure that whatever is validated can be learnt.

    Raises:
        DataError: a class has validation images and no training images.
    """
    missing = np.setdiff1d(val.labels, train.labels)
    if len(missing):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"the class {classes[missing[0]]}{more} has validation images, but no training images; "
            "add some, or name the classes to use (data.classes=[NAME, ...])"
        )


def absent(val: ImageSet, classes: Sequence[str]) -> str:
    """Return a sentence that names classes without validation images, ``""`` if there are none."""
    missing = np.setdiff1d(np.arange(len(classes)), val.labels)
    if not len(missing):
        return ""
    names = _some([classes[number] for number in missing])
    have, them = ("has", "it") if len(missing) == 1 else ("have", "them")
    return (
        f"of {len(classes)} classes {names} {have} no validation images; the figures say nothing "
        f"of {them}"
    )


def scarce(train: ImageSet, classes: Sequence[str]) -> str:
    """Return a sentence that names classes with hardly any training images, or ``""``."""
    counts = np.bincount(train.labels, minlength=len(classes))
    few = np.flatnonzero(counts < FEW)
    if not len(few):
        return ""
    names = _some([classes[int(number)] for number in few])
    if len(few) > 1:
        return f"the classes {names} have fewer than {FEW} training images each"
    count = int(counts[few[0]])
    return f"the class {names} has only {count} training image{'s' if count > 1 else ''}"


def _some(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _no_images(half: Half) -> str:
    return (
        f"the validation set in {half.title} has no images of the classes in use; give it at least "
        "one"
    )
