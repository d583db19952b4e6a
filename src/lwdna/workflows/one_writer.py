"""A folder that is written belongs to one run, whatever its number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lwdna.engine.together import by_first
from lwdna.errors import FileError
from lwdna.files import remove_unfinished
from lwdna.locks import locked
from lwdna.run_folder import CHECKPOINTS, EXAMPLES, IMAGES, LOCK, ROUNDS, TRIALS, WARMUP
from lwdna.run_options import RunOptions
from lwdna.storage import check_local

_WRITTEN = (CHECKPOINTS, EXAMPLES, WARMUP, f"{WARMUP}/{CHECKPOINTS}", TRIALS, IMAGES, ROUNDS)
"""Folders inside a run's own that have no lock of their own."""
_PATTERNS = (f"{IMAGES}/*/", f"{ROUNDS}/*/", f"{ROUNDS}/*/{CHECKPOINTS}/")
"""The same, of any number."""


@contextmanager
def one_writer(folder: Path, options: RunOptions) -> Iterator[None]:
    """Keep other processes from writing a folder while the body runs.

    Of processes that were launched together, the first holds the lock for all. What processes that
    were killed left half-written is removed first. A folder that is made here and stays empty is
    removed.

    Args:
        folder: it need not exist.
        options: told if the file system knows no locks; then nobody is kept out.

    Raises:
        LockedError: another process writes the folder; it is named.
        FileError: the folder cannot be written.
    """
    with ExitStack() as stack:
        by_first(lambda: stack.enter_context(_kept(folder, options)))
        yield


@contextmanager
def _kept(folder: Path, options: RunOptions) -> Iterator[None]:
    check_local(folder)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(
                f"cannot write {folder}: {error.strerror or error}; choose another folder (--out)"
            ) from error
        with locked(folder / LOCK, required=False) as held:
            if held:
                _tidy(folder)
            else:
                options.say(
                    f"the file system of {folder} knows no locks: make sure that no other process "
                    "writes there"
                )
            yield
    finally:
        for place in made:
            with suppress(OSError):  # something was written
                place.rmdir()


def _tidy(folder: Path) -> None:
    many = [place for pattern in _PATTERNS for place in folder.glob(pattern)]
    for place in (folder, *(folder / name for name in _WRITTEN), *many):
        remove_unfinished(place)
