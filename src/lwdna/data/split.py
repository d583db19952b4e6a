"""A validation set where a data set has none: some images of each class, chosen by a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from lwdna.data.images import ImageSet, Labels, Positions, stored_of
from lwdna.errors import DataError


def split_off(images: ImageSet, share: float, seed: int, root: object) -> tuple[ImageSet, ImageSet]:
    """Divide images into those to train on and those to validate on, class by class.

    Which half an image is in follows from its class, its name below the folder of the set and the
    seed; so it is the same wherever the set lies and whatever else a run decides. A class of two
    or more images has at least one in each half; a single image is trained on.

    Args:
        images: all of them.
        share: of the images of each class that is validated on, rounded to whole images.
        seed: other seeds choose other images.
        root: what to call the set in an error message.

    Raises:
        DataError: no class has two images.
    """
    labels = images.labels
    validated = _chosen(labels, _keys(images, seed), share)
    if not len(validated):
        raise DataError(
            f"{root} has no validation set and no class of two images, so that none can be set "
            "aside; add images, or a folder val/<class>/<image>"
        )
    trained = np.setdiff1d(np.arange(len(labels)), validated)
    return images.take(trained, labels[trained]), images.take(validated, labels[validated])


def split_note(root: object, share: float, seed: int, train: Labels, val: Labels) -> str:
    """Return the sentence that says how a set was divided."""
    return (
        f"{root} has no validation set: {share:.3g} of each class was set aside for it, {len(val)} "
        f"of {len(train) + len(val)} images (data.split={share:g}, data.split_seed={seed})"
    )


def _keys(images: ImageSet, seed: int) -> list[bytes]:
    """Return what decides the order of the images, for each of them."""
    names: Sequence[bytes] = [bytes(name) for name in stored_of(images).names]
    if not names:
        names = [str(index).encode() for index in range(len(images.labels))]
    start = f"{seed}\0".encode()
    return [
        # the separator of the system that wrote the names must not matter
        hashlib.blake2b(start + name.replace(b"\\", b"/"), digest_size=8).digest() + name
        for name in names
    ]


def _chosen(labels: Labels, keys: Sequence[bytes], share: float) -> Positions:
    """Return the positions of the images to validate on, ascending."""
    chosen: list[int] = []
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=keys.__getitem__)
        wanted = round(len(members) * share)
        chosen += members[: min(max(wanted, 1), len(members) - 1)]
    return np.array(sorted(chosen), dtype=np.int64)
