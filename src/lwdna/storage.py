"""Files in a storage that fsspec knows: ``s3://bucket/folder``, ``gs://``, ``memory://``.

Credentials, endpoints and proxies are those of fsspec's own settings: environment variables, the
cloud's profiles, ``~/.config/fsspec``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from lwdna.errors import FileError, LwdnaError
from lwdna.files import atomic

_URL = re.compile(r"[a-z][a-z0-9+.-]+://")
_COLLAPSED = re.compile(r"[a-z][a-z0-9+.-]+:/")
"""What pathlib makes of an address."""
_TRIES = 5
_WAIT = 0.1
"""Seconds before the second try; twice as long before each that follows."""
_STATES = ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created")
"""What storages call that which changes with an object, best first."""


def is_url(place: object) -> TypeGuard[str]:
    """Whether a text names a place in a storage, and not a local path."""
    return isinstance(place, str) and _URL.match(place) is not None


@dataclass(frozen=True)
class Entry:
    """An object in a storage."""

    size: int
    """Bytes."""
    state: str
    """Changes with the object."""


def check_local(path: Path) -> None:
    """Make sure that a path is not what becomes of an address in the hands of pathlib.

    Raises:
        FileError: it is.
    """
    if _COLLAPSED.match(str(path)):
        raise FileError(
            f"{path} is no folder of this machine; to keep a run in a storage give its address "
            "to --out, or work in the folder that lwdna.workflows.stored_run(address) yields"
        )


def open_storage(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for an address, and the address's path in it.

    Instances are shared inside a process and made anew after a fork: ask again, keep none.

    Raises:
        FileError: a package for this kind of storage is missing, or the kind is unknown.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise FileError(f"{url} needs fsspec: pip install 'lwdna[cloud]'") from error
    with failures(f"cannot open {url}"):
        try:
            local = url.startswith(("file://", "local://"))
            files, path = url_to_fs(url, **({"auto_mkdir": True} if local else {}))
        except ImportError as error:
            raise FileError(
                f"{url} needs a package that is not installed ({reason(error)}): "
                "pip install 'lwdna[cloud]', and gcsfs for gs://"
            ) from error
        except ValueError as error:
            raise FileError(f"{url} is in no storage that fsspec knows: {reason(error)}") from error
    return files, path.rstrip("/")


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Turn whatever a storage raises inside into one line that begins with ``what``.

    Raises:
        FileError: something failed.
    """
    try:
        yield
    except (LwdnaError, MemoryError):
        raise
    except Exception as error:  # each kind of storage has errors of its own
        raise FileError(
            f"{what}: {reason(error)}; check the address, the network and your credentials"
        ) from error


def reason(error: BaseException) -> str:
    """Return an error as part of a line."""
    return " ".join(str(error).split()) or type(error).__name__


def list_storage(url: str) -> dict[str, Entry]:
    """Return the objects below an address by their path from there, ascending.

    Raises:
        FileError: the storage cannot be read.
    """
    files, path = open_storage(url)
    with failures(f"cannot list {url}"):
        files.invalidate_cache()
        found = files.find(path, detail=True)
    start = len(path) + 1 if path else 0
    return {
        name[start:]: Entry(int(info.get("size") or 0), _state(info))
        for name, info in sorted(found.items())
        if name[start:] and info.get("type") != "directory" and not name.endswith("/")
    }


def _state(info: dict[str, Any]) -> str:
    """Return a text that changes with an object, as far as its storage tells."""
    told = next((info[name] for name in _STATES if info.get(name)), "")
    return f"{info.get('size')} {told}"


def read_storage(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """Return an object's bytes, or those from ``start`` to before ``end``; failures are repeated.

    Raises:
        FileError: it is missing, or cannot be read.
    """
    for left in reversed(range(_TRIES)):
        files, path = open_storage(url)
        try:
            content: bytes = files.cat_file(path, start=start, end=end)
            return content
        except FileNotFoundError as error:
            raise FileError(f"there is no {url} (any more)") from error
        except Exception as error:  # each kind of storage has errors of its own
            if not left:
                raise FileError(f"cannot read {url}: {reason(error)}") from error
        time.sleep(_WAIT * 2.0 ** (_TRIES - 1 - left))
    raise AssertionError("unreachable")


def fetch_file(url: str, path: Path, size: int) -> None:
    """Copy an object to a local file; failures are repeated.

    Raises:
        FileError: it is missing, of another size, or cannot be read; or the file not written.
    """
    for left in reversed(range(_TRIES)):
        try:
            with failures(f"cannot fetch {url}"), atomic(path) as temporary:
                files, place = open_storage(url)
                files.get_file(place, str(temporary))
                if temporary.stat().st_size != size:
                    raise FileError(f"{url} has other than the {size} bytes that were listed")
            return
        except FileError:
            if not left:
                raise
        time.sleep(_WAIT * 2.0 ** (_TRIES - 1 - left))
