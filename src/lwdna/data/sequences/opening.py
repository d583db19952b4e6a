"""Find out in which layout sequences lie in a folder, and read those that are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Ordered
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from lwdna.data.sequences.layout import LAYOUTS, Read
from lwdna.data.sequences.memory import FrameMemory
from lwdna.data.sequences.sequence import Sequence
from lwdna.errors import DataError, nearest

AUTO = "auto"
_COMPARED = 2000
"""Names that are compared with one that does not exist; COCO has 860,000."""


def open_sequences(
    root: Path,
    layout: str = AUTO,
    names: Ordered[str] = ("*",),
    exclude: Ordered[str] = (),
    *,
    memory: FrameMemory | None = None,
) -> list[Sequence]:
    """Return the sequences in a folder, their truth read and their frames listed.

    Args:
        root: the folder.
        layout: a name in ``LAYOUTS``, or ``auto``.
        names: shell patterns, of which a sequence matches one or more.
        exclude: shell patterns of those to leave out.
        memory: where decoded frames are kept; by default 2 GB for these sequences.

    Raises:
        DataError: the folder is missing, its layout is unknown, a pattern matches nothing, or a
            file is missing, damaged or does not fit the others.
        ValueError: there is no such layout.
    """
    if layout != AUTO:
        LAYOUTS.check(layout, AUTO)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; name a folder with {_layouts()}")
    kind = _detect(root) if layout == AUTO else layout
    found: dict[str, Read] = {}
    for name, read in LAYOUTS[kind].find(root):
        if name in found:
            raise DataError(f"{root} holds two sequences called {name}; rename one of them")
        found[name] = read
    if not found:
        raise DataError(
            f"{root} has no sequences in the layout {kind}; name a folder with "
            f"{LAYOUTS[kind].layout}"
        )
    for pattern in (*names, *exclude):
        if not any(fnmatchcase(name, pattern) for name in found):
            hint = nearest(pattern, islice(found, _COMPARED)) or f"; there are {_some(found)}"
            raise DataError(f"no sequence in {root} is called {pattern}{hint}")
    chosen = [name for name in found if _matches(name, names) and not _matches(name, exclude)]
    if not chosen:
        raise DataError(f"all sequences in {root} are excluded; leave some ({_some(found)})")
    kept = FrameMemory() if memory is None else memory
    sequences = []
    for name in chosen:
        boxes, visible, frames, still = found[name]()
        sequences.append(Sequence(name, boxes, visible, frames, kept, still))
    return sequences


def _matches(name: str, patterns: Ordered[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _detect(root: Path) -> str:
    found = [name for name, known in LAYOUTS.items() if known.detect(root)]
    general = {other for name in found for other in LAYOUTS[name].supersedes}
    found = [name for name in found if name not in general]
    if len(found) > 1:
        raise DataError(
            f"{root} holds sequences in several layouts ({', '.join(found)}); say which with layout"
        )
    if not found:
        raise DataError(f"{root} holds no sequences that lwdna knows; expected {_layouts()}")
    return found[0]


def _layouts() -> str:
    """Return the files of every layout in words."""
    words = [known.layout for known in LAYOUTS.values()]
    return f"{', '.join(words[:-1])}, or {words[-1]}" if len(words) > 1 else words[0]


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return ", ".join(listed[:5]) + more
