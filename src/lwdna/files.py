"""Files that are either written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lwdna.errors import FileError

UNFINISHED = ".lwdna-part"
"""How the names of folders end in which files are written before they get their place."""
ABANDONED = 3600.0
"""Seconds without a change after which nobody writes a file any more, where no lock says so."""
CHECKSUM = "lwdna_crc32"
"""The key of the checksum in what carries one."""


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path near ``path`` and rename it to ``path`` when the body succeeds.

    What stood at ``path`` before survives any failure, a full disk included. The temporary file
    has a folder of its own, ``.NAME.XXXXXXXX.lwdna-part``, because libraries write temporary files
    beside it, and a process that is killed leaves them; see :func:`remove_unfinished`.

    Raises:
        FileError: the file cannot be written.
    """
    path = Path(path)
    folder: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f".{path.name[:100]}.", suffix=UNFINISHED, dir=path.parent)
        temporary = Path(folder) / path.name
        temporary.touch()
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise FileError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another "
            "folder (what was there before is untouched)"
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def remove_unfinished(folder: Path, older_than: float = 0.0) -> None:
    """Remove what processes that were killed left of :func:`atomic` in a folder.

    Args:
        folder: those below it are not looked into.
        older_than: leave what was changed in the last so many seconds. 0 is for who knows that
            nobody else writes there.
    """
    now = time.time()
    for place in folder.glob(f".*{UNFINISHED}"):
        with suppress(OSError):  # somebody else was faster, or may not be disturbed
            changed = max(part.stat().st_mtime for part in (place, *place.iterdir()))
            if now - changed >= older_than:
                shutil.rmtree(place)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as readable JSON to ``path`` atomically."""
    write_text(path, json_text(value, indent=2) + "\n")


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return ``value`` as JSON, which every reader of JSON takes.

    A number that is not finite becomes ``null``: JSON has no word for it, and what Python writes
    instead (``NaN``) other readers refuse.
    """
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        FileError: the file is missing or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is not a JSON file: {error}") from error


def cache_folder() -> Path:
    """Return where to keep what can be made again: ``$XDG_CACHE_HOME/lwdna``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lwdna"


def checksum(
    arrays: Iterable[tuple[str, str, Sequence[int], Any]], notes: Mapping[str, str]
) -> str:
    """Return a CRC-32 of named arrays and notes, whatever their order.

    It finds damage, not malice. Writing a checkpoint takes ten times as long.

    Args:
        arrays: name, type as ``"float32"``, shape, and the bytes as a buffer.
        notes: texts by name; a checksum among them is left out.
    """
    value = 0
    for name, kind, shape, content in sorted(arrays, key=lambda one: one[0]):
        value = zlib.crc32(f"{name}\0{kind}\0{tuple(shape)}\0".encode(), value)
        value = zlib.crc32(content, value)
    for name, text in sorted(notes.items()):
        if name != CHECKSUM:
            value = zlib.crc32(f"{name}\0{text}\0".encode(), value)
    return f"{value:08x}"


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON data with a checksum of them; see :func:`unsealed`."""
    return {**value, CHECKSUM: _checksum_of(value)}


def unsealed(value: Any) -> dict[str, Any]:
    """Return JSON data without their checksum; without one, they are returned as they are.

    Raises:
        ValueError: they are no JSON object, or the checksum is of other data.
    """
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    content = {name: part for name, part in value.items() if name != CHECKSUM}
    if CHECKSUM in value and value[CHECKSUM] != _checksum_of(content):
        raise ValueError("its checksum is that of other contents")
    return content


def _checksum_of(value: Mapping[str, Any]) -> str:
    return checksum((), {"json": json.dumps(value, sort_keys=True, ensure_ascii=False)})
