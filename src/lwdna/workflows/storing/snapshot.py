"""The files of a run as they were at one moment, while the run goes on writing."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lwdna.files import UNFINISHED

_REPLACED = ".safetensors"
"""Large files, which are never changed but replaced: a second name for them is a copy."""
_TRIES = 20
_PAUSE = 0.05


@dataclass(frozen=True)
class State:
    """What tells whether a file was changed."""

    inode: int
    changed: int
    """Nanoseconds."""
    size: int


def look(folder: Path) -> dict[str, State]:
    """Return the files of a run by their path below its folder, but locks and unfinished ones."""
    found = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.endswith(UNFINISHED))
        for name in sorted(names):
            path = Path(place, name)
            if name.endswith(".lock"):
                continue
            try:
                state = path.stat()
            except FileNotFoundError:  # replaced or removed just now
                continue
            found[path.relative_to(folder).as_posix()] = State(
                state.st_ino, state.st_mtime_ns, state.st_size
            )
    return found


@contextmanager
def snapshot(
    folder: Path, known: Mapping[str, State]
) -> Iterator[tuple[dict[str, State], dict[str, Path]] | None]:
    """Yield the files of a run at one moment, and copies of those that are not ``known``.

    A run writes a file after those that it rests on. So the files are looked at, copied and looked
    at again: if none was replaced in between, they were all there together. Yields None if files
    change all the time.
    """
    staging = Path(
        tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=UNFINISHED, dir=folder.parent)
    )
    try:
        for count in range(_TRIES):
            seen = look(folder)
            place = staging / str(count)
            copies = {
                name: place / name for name, state in seen.items() if known.get(name) != state
            }
            if _copied(folder, seen, copies) and _unchanged(seen, look(folder)):
                yield seen, copies
                return
            time.sleep(_PAUSE)
        yield None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unchanged(before: Mapping[str, State], now: Mapping[str, State]) -> bool:
    """Whether the files of ``before`` are there still; logs may have grown."""
    return all(
        name in now and now[name].inode == state.inode and now[name].size >= state.size
        for name, state in before.items()
    )


def _copied(folder: Path, seen: Mapping[str, State], copies: Mapping[str, Path]) -> bool:
    """Copy files as far as they were seen; return whether all were there."""
    for name, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            if name.endswith(_REPLACED):
                try:
                    os.link(folder / name, copy)
                    continue
                except FileNotFoundError:
                    return False
                except OSError:  # a file system without second names
                    pass
            with open(folder / name, "rb") as source, open(copy, "wb") as target:
                shutil.copyfileobj(source, target)
                target.truncate(seen[name].size)
        except FileNotFoundError:
            return False
    return True
