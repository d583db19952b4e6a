"""The table of layouts, and what a layout of sequences has to say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

from lwdna.data.sequences.sequence import Boxes, Flags, Frames
from lwdna.registry import Registry


class Annotated(NamedTuple):
    """What the files of a sequence say; see :class:`lwdna.data.sequences.Sequence`."""

    boxes: Boxes
    visible: Flags
    frames: Frames
    still: bool = False


Read = Callable[[], Annotated]
"""Reads the truth of one sequence and lists its frames.

Raises:
    DataError: a file is missing, damaged or does not fit the others.
"""


class SequenceLayout:
    """How sequences may lie on disk; derive from it and decorate with :func:`register_layout`.

    Nothing in the files is trusted: names in them do not lead out of the folder.
    """

    layout: ClassVar[str] = ""
    """The files by which it is known, to go on from "a folder with"."""
    supersedes: ClassVar[tuple[str, ...]] = ()
    """Layouts whose signs its files show, too: where both are found, it is this one."""

    def detect(self, root: Path) -> bool:
        """Whether the folder ``root``, which exists, looks like sequences in this layout."""
        return False

    def find(self, root: Path) -> Iterable[tuple[str, Read]]:
        """Return the sequences in the folder ``root``, which exists: their names and the rest.

        Raises:
            DataError: saying which file is missing, damaged or not to be trusted.
        """
        raise NotImplementedError


LAYOUTS: Registry[SequenceLayout] = Registry(
    "layout of sequences", "lwdna.data.sequences.layouts", "register_layout"
)
"""The layouts by the name that recipes give them."""

L = TypeVar("L", bound=SequenceLayout)


def register_layout(name: str) -> Callable[[type[L]], type[L]]:
    """Register a class as the layout ``name``; a name is taken only once.

    Raises:
        ValueError: another class has that name.
    """

    def register(kind: type[L]) -> type[L]:
        LAYOUTS.add(name, kind(), kind)
        return kind

    return register
