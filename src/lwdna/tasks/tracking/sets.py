"""The sequences that a recipe asks for."""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from pathlib import Path

from lwdna.data.remote import local_copy
from lwdna.data.sequences import FrameMemory, Sequence, open_sequences, photo_sequences
from lwdna.errors import DataError
from lwdna.tasks.tracking.sampling import WeightedSet, showing
from lwdna.tasks.tracking.settings import SequenceSet, TrackingSettings

_PHOTO_SIZE = (160, 120)


@dataclass(frozen=True)
class OpenedSets:
    """What a recipe asks for, as found."""

    train: list[WeightedSet]
    val: list[Sequence]
    notes: tuple[str, ...] = ()
    """What a user should know of it."""


def open_sets(settings: TrackingSettings) -> OpenedSets:
    """Return the sets to train on, and the sequences to validate on.

    Sequences that show their target less than twice cannot be followed and are left out of
    validation.

    Raises:
        DataError: a folder is missing, has no sequences of the names asked for, or its files do
            not fit together.
    """
    if settings.kind == "photos":
        count, frames = settings.photo_sequences, settings.photo_frames
        train = photo_sequences(count, frames, seed=0, size=_PHOTO_SIZE)
        val = photo_sequences(-(-count // 2), frames, seed=1, size=_PHOTO_SIZE)
        return OpenedSets([WeightedSet(train, 1.0)], val[: settings.val_limit])
    root = None if settings.root is None else local_copy(settings.root)
    halves, memory = [], FrameMemory()
    for key, asked in (("train", settings.train), ("val", settings.val)):
        sets = asked or (SequenceSet(root=_usual(root, key)),)
        halves.append([WeightedSet(_opened(root, one, memory), one.weight) for one in sets])
    learnt, judged = halves
    validated = [sequence for one in judged for sequence in one.sequences]
    _check_names(validated)
    followed = [sequence for sequence in validated if showing(sequence).sum() > 1]
    unseen = [one for part in learnt for one in part.sequences if not showing(one).any()]
    short = [sequence for sequence in validated if showing(sequence).sum() <= 1]
    notes = (
        _note(unseen, "shows its target in no frame and is not trained on"),
        _note(short, "shows its target in one frame at most and is not validated on"),
    )
    return OpenedSets(learnt, followed[: settings.val_limit], tuple(filter(None, notes)))


def _note(sequences: Ordered[Sequence], what: str) -> str:
    if not sequences:
        return ""
    more = f" (as {len(sequences) - 1} more)" if len(sequences) > 1 else ""
    return f"the sequence {sequences[0].name}{more} {what}"


def _usual(root: Path | None, key: str) -> Path:
    if root is None:
        raise DataError("which sequences? set data.root (--data) to a folder of sequences")
    if not (root / key).is_dir():
        raise DataError(
            f"{root} has no folder {key}; say which sequences with "
            f"data.{key}=[{{root: FOLDER, sequences: [NAME, ...]}}]"
        )
    return root / key


def _opened(root: Path | None, asked: SequenceSet, memory: FrameMemory) -> list[Sequence]:
    place = asked.root if root is None else root / asked.root
    return open_sequences(place, asked.layout, asked.sequences, asked.exclude, memory=memory)


def _check_names(sequences: Ordered[Sequence]) -> None:
    """Make sure that results, which go by names, do not overwrite each other.

    Raises:
        DataError: two sequences have one name.
    """
    names = [sequence.name for sequence in sequences]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"two sequences of data.val are called {twice}; leave one out by exclude, or rename it"
        )
