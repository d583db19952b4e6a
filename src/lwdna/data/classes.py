"""Which classes of a data set are used, and how many examples of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lwdna.data.data_format import Half
from lwdna.data.images import ImageSet, Labels, Positions
from lwdna.errors import DataError, nearest


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


def check_same_classes(train: Half, val: Half) -> None:
    """Make sure that both halves of a data set have the same classes.

    Raises:
        DataError: naming the first class that only one has.
    """
    missing = sorted(set(train.classes) ^ set(val.classes))
    if missing:
        name = missing[0]
        here, there = (train, val) if name in train.classes else (val, train)
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"the class {name} is in {here.title} but not in {there.title}{more}; both need the "
            "same classes"
        )
