"""What a run remembers of its data, so that other data are noticed and what differs can be said.

Names, sizes and classes are taken of all images, contents of a sample at even distances: a set of a
million files is not read. Nothing depends on where the set lies or on times of files, so that it
may be moved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lwdna.settings import Settings

SAMPLE = 512
"""Images of each half whose contents are looked at; all of a smaller set."""
MEASURED = 100_000
"""Images of each half whose sizes are looked at; all of a smaller set."""
_THREADS = 16
"""For files on another machine, of which each takes a while."""
_CHUNK = 1000


@dataclass(frozen=True)
class Stored:
    """The examples of half a data set as they lie on disk, in their order."""

    labels: NDArray[np.int64]
    """Class of each, shape (N,)."""
    content: Callable[[int], bytes]
    """Bytes that change with an example; empty where it cannot be read."""
    names: Sequence[bytes] | NDArray[np.bytes_] = ()
    """Of each, below the folder of the set; none where examples have no names."""
    sizes: Callable[[Sequence[int]], Sequence[int]] | None = None
    """Numbers that change with examples, cheap to get: bytes of files, checksums of entries."""
    sample: int = SAMPLE


class Sampled(Settings):
    """An example whose contents were looked at, and those up to the next one."""

    name: str | None
    label: int
    size: int | None
    content: str
    """A digest."""
    until_next: str
    """A digest of names, classes and sizes from this example on."""


class HalfPrint(Settings):
    """What is remembered of the training or of the validation set."""

    counts: tuple[int, ...]
    """Number of examples of every class."""
    sampled: tuple[Sampled, ...]
    """At even distances, from the first on."""


class Fingerprint(Settings):
    """What is remembered of a data set."""

    version: Literal[2] = 2
    classes: tuple[str, ...] | None
    """Their names in order; None where they have none but numbers, or the task knows no classes."""
    train: HalfPrint
    val: HalfPrint
    left_out: tuple[str, ...] = ()
    """Files that were found damaged and are part of neither half."""


@runtime_checkable
class KnowsItsData(Protocol):
    """What a :class:`lwdna.engine.task.Task` may say of its data, beside what training needs.

    Runs of a task that does so are resumed on the same data only, and networks are evaluated on
    the classes that they were trained for.
    """

    def classes(self) -> tuple[str, ...] | None:
        """Return the names of the classes in order, or None where they have no names."""
        ...

    def fingerprint(self) -> Fingerprint:
        """Return what is to be remembered of the data in use. It may take a second."""
        ...


def half_print(stored: Stored) -> HalfPrint:
    """Look at half a data set."""
    count = len(stored.labels)
    places = _spread(count, stored.sample)
    names = [bytes(name) for name in stored.names]
    measured = _spread(count, MEASURED) if stored.sizes else []
    sizes: dict[int, int] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        if stored.sizes:
            chunks = [measured[i : i + _CHUNK] for i in range(0, len(measured), _CHUNK)]
            for chunk, found in zip(chunks, pool.map(stored.sizes, chunks), strict=True):
                sizes.update(zip(chunk, map(int, found), strict=True))
        contents = list(pool.map(stored.content, places))
    sampled = []
    for (start, end), content in zip(pairwise([*places, count]), contents, strict=True):
        listing = hashlib.blake2b(b"\0".join(names[start:end]), digest_size=8)
        listing.update(np.ascontiguousarray(stored.labels[start:end], dtype="<i8").tobytes())
        listing.update(repr([sizes.get(i) for i in range(start, end)]).encode())
        sampled.append(
            Sampled(
                name=names[start].decode("utf-8", "backslashreplace") if names else None,
                label=int(stored.labels[start]),
                size=sizes.get(start),
                content=hashlib.blake2b(content, digest_size=8).hexdigest(),
                until_next=listing.hexdigest(),
            )
        )
    return HalfPrint(counts=tuple(np.bincount(stored.labels).tolist()), sampled=tuple(sampled))


def _spread(count: int, most: int) -> list[int]:
    """Return at most so many places out of ``range(count)`` at even distances, the first too."""
    number = min(count, most)
    return [i * count // number for i in range(number)]


def difference(before: Fingerprint, now: Fingerprint) -> str | None:
    """Say in a clause what differs between two data sets; None if nothing is seen to."""
    named = before.classes, now.classes
    if before.classes is not None and now.classes is not None:
        fault = class_difference(before.classes, now.classes)
        if fault is not None:
            return fault
    for title, old, new in (
        ("training", before.train, now.train),
        ("validation", before.val, now.val),
    ):
        fault = _half_difference(title, old, new, next(filter(None, named), None))
        if fault is not None:
            return fault
    return None


def class_difference(before: Sequence[str], now: Sequence[str]) -> str | None:
    """Say in a clause how the names of classes differ; None if they do not."""
    gone = [name for name in before if name not in now]
    new = [name for name in now if name not in before]
    parts = []
    if gone:
        parts.append(f"the class {_listed(gone)} is not there any more")
    if new:
        parts.append(f"the class {_listed(new)} was not there")
    if not parts:
        for place, (one, other) in enumerate(zip(before, now, strict=False)):
            if one != other:
                parts.append(f"class {place} was {one} and is {other}, the others are the same")
                break
    return " and ".join(parts) or None


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def _half_difference(
    title: str, before: HalfPrint, now: HalfPrint, classes: Sequence[str] | None
) -> str | None:
    if before.counts != now.counts:
        return _count_difference(title, before, now, classes)
    for place, (old, new) in enumerate(zip(before.sampled, now.sampled, strict=False)):
        what = f"the {title} image {old.name or f'number {_number(place, before)}'}"
        if old.name != new.name:
            return f"where {what} was, there is {new.name or 'one without a name'} now"
        if old.label != new.label:
            return (
                f"{what} was of the class {_class(old.label, classes)} and is of "
                f"{_class(new.label, classes)} now"
            )
        if (old.size, old.content) != (new.size, new.content):
            return f"{what} has other contents"
        if old.until_next != new.until_next:
            return f"after {what}, an image has another name, size or class"
    return None


def _count_difference(
    title: str, before: HalfPrint, now: HalfPrint, classes: Sequence[str] | None
) -> str:
    totals = sum(before.counts), sum(now.counts)
    said = f"there were {totals[0]} {title} images and there are {totals[1]} now"
    if totals[0] == totals[1]:
        said = f"the {title} images are of other classes"
    old, new = ({one.name for one in half.sampled} for half in (before, now))
    whole = [len(half.sampled) for half in (before, now)] == list(totals)
    if whole and None not in old | new and old != new:
        gone, added = sorted(map(str, old - new)), sorted(map(str, new - old))
        named = [f"{name} is gone" for name in gone[:1]] + [f"{name} is new" for name in added[:1]]
        return f"{said} ({', '.join(named)})"
    for label, (one, other) in enumerate(zip_longest(before.counts, now.counts, fillvalue=0)):
        if one != other and max(len(before.counts), len(now.counts)) > 1:
            return f"{said} (of the class {_class(label, classes)}, {one} and {other})"
    return said


def _class(label: int, classes: Sequence[str] | None) -> str:
    return classes[label] if classes is not None and label < len(classes) else str(label)


def _number(place: int, half: HalfPrint) -> int:
    return _spread(sum(half.counts), len(half.sampled))[place]
