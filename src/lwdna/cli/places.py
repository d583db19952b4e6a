"""Where a verb keeps its run: in a local folder, or in a storage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from lwdna.cli.output import note
from lwdna.errors import FileError
from lwdna.storage import is_url


@dataclass
class _Places:
    """What a command has to leave behind."""

    stack: ExitStack
    addresses: dict[Path, str] = field(default_factory=dict)


_PLACES: ContextVar[_Places] = ContextVar("places")


@contextmanager
def places() -> Iterator[None]:
    """Carry out a command; what it keeps in a storage is stored when this ends."""
    with ExitStack() as stack:
        token = _PLACES.set(_Places(stack))
        try:
            yield
        finally:
            _PLACES.reset(token)


def placed(out: str | None) -> Path | None:
    """Return the folder that ``--out`` names; of an address, the folder where its run works.

    Raises:
        LockedError: another process writes the run in the storage.
        FileError: the storage cannot be read or written.
    """
    if out is None or not is_url(out):
        return Path(out) if out else None
    from lwdna.workflows import stored_run

    known = _PLACES.get(None)
    if known is None:
        raise FileError(f"{out} is no local folder; see lwdna.workflows.stored_run")
    folder = known.stack.enter_context(stored_run(out, say=note))
    known.stack.enter_context(_told(out))
    known.addresses[folder] = out
    note(f"working in {folder}, stored in {out}")
    return folder


def address_of(folder: Path) -> str:
    """Return what ``--out`` was where it named this folder or an address."""
    known = _PLACES.get(None)
    return known.addresses.get(folder, str(folder)) if known else str(folder)


@contextmanager
def _told(url: str) -> Iterator[None]:
    yield
    note(f"storing what is new in {url}")
