"""A stored run has one writer: who holds the newest lease.

Leases are objects with a number each. One is taken by creating the next, which a storage with
conditional writes (``If-None-Match: *``) lets only one process do; the holder writes its own anew
from time to time, and one that is not written for long is taken for that of a process that died.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
import uuid
from contextlib import suppress
from datetime import datetime
from typing import Any

from lwdna.errors import FileError, LockedError
from lwdna.storage import failures, open_storage
from lwdna.workflows.storing.manifest import CONTROL

_NAME = re.compile(r"lease-(\d{8})\.json$")
_KEYS = {"host", "process", "since", "renewed", "lasts", "token", "myself"}
_PATIENCE = 10.0
"""Seconds that giving a lease back may take."""
_MYSELF = uuid.uuid4().hex
"""Tells this process from one before it with the same number, in a container for example."""


class Lease:
    """The right to write a stored run.

    Args:
        url: the run's address.
        lasts: seconds after which a lease that was not renewed has ended. Clocks of machines have
            to agree within a fraction of that.
    """

    def __init__(self, url: str, lasts: float) -> None:
        self._url = url
        self._lasts = lasts
        self._number = 0
        self._token = uuid.uuid4().hex
        self._since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z")

    def acquire(self) -> bool:
        """Take the lease; return whether the storage keeps others from taking it at once.

        Raises:
            LockedError: another process holds it; it is named.
            FileError: the storage cannot be written.
        """
        files, _ = open_storage(self._url)
        with failures(f"cannot write {self._url}"):
            number = self._newest(files)
            if number and (holder := self._read(files, number)):
                self._check_ended(holder)
            self._number = number + 1
            self._create(files)
            exclusive = self._is_exclusive(files)
            for old in range(max(1, number - 1), number + 1):
                with suppress(FileNotFoundError):
                    files.rm_file(self._path(old))
        return exclusive

    def renew(self) -> None:
        """Write the lease anew.

        Raises:
            LockedError: another process has taken it meanwhile.
        """
        files, _ = open_storage(self._url)
        newest = self._newest(files)
        held = self._read(files, newest) if newest else None
        if held is None or held["token"] != self._token:
            raise self._refusal(held or {})
        files.pipe_file(self._path(self._number), self._content())

    def release(self) -> None:
        """Give the lease back, if the storage answers soon; otherwise it ends by itself."""
        thread = threading.Thread(target=self._remove, name="lwdna-release", daemon=True)
        thread.start()
        thread.join(_PATIENCE)

    def _remove(self) -> None:
        for wait in (0.1, 0.3, 1.0, 3.0):
            try:
                files, _ = open_storage(self._url)
                files.rm_file(self._path(self._number))
                return
            except FileNotFoundError:
                return
            except Exception:  # each kind of storage has errors of its own
                time.sleep(wait)

    def _create(self, files: Any) -> None:
        """Create the lease's object.

        Raises:
            LockedError: somebody was faster.
        """
        try:
            files.pipe_file(self._path(self._number), self._content(), mode="create")
        except (OSError, TypeError) as error:
            files.invalidate_cache()
            now = self._read(files, self._number)
            if now is None and isinstance(error, TypeError):  # an fsspec without conditional writes
                files.pipe_file(self._path(self._number), self._content())
                return
            if now is None:
                raise
            if now["token"] != self._token:  # ours arrived, and the answer was lost
                raise self._refusal(now) from error

    def _is_exclusive(self, files: Any) -> bool:
        """Whether the storage refuses to create what is there; some do not know the condition."""
        try:
            files.pipe_file(self._path(self._number), self._content(), mode="create")
        except (OSError, TypeError) as error:
            return isinstance(error, OSError)
        return False

    def _check_ended(self, holder: dict[str, Any]) -> None:
        if holder["host"] == socket.gethostname() and not _alive(holder):
            return
        if _left(holder) > 0:
            raise self._refusal(holder)

    def _refusal(self, holder: dict[str, Any]) -> LockedError:
        if not holder:
            return LockedError(f"the lease of {self._url} has gone: another process took it")
        who = f"process {holder['process']} on {holder['host']}, since {holder['since']}"
        return LockedError(
            f"{self._url} is being written by {who}; wait until it ends (if it was killed, its "
            f"lease ends in {max(0.0, _left(holder)):.0f} s), stop it, or choose another address "
            "(--out)"
        )

    def _content(self) -> bytes:
        return json.dumps(
            {
                "host": socket.gethostname(),
                "process": os.getpid(),
                "since": self._since,
                "renewed": time.time(),
                "lasts": self._lasts,
                "token": self._token,
                "myself": _MYSELF,
            }
        ).encode()

    def _path(self, number: int) -> str:
        _, root = open_storage(self._url)
        return f"{root}/{CONTROL}/lease-{number:08d}.json"

    def _newest(self, files: Any) -> int:
        files.invalidate_cache()
        _, root = open_storage(self._url)
        names = files.find(f"{root}/{CONTROL}", maxdepth=1)
        return max((int(match[1]) for match in map(_NAME.search, names) if match), default=0)

    def _read(self, files: Any, number: int) -> dict[str, Any] | None:
        """Return what a lease says; None if it has gone."""
        try:
            found = json.loads(files.cat_file(self._path(number)))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self._damaged(number) from error
        if not isinstance(found, dict) or not found.keys() >= _KEYS:
            raise self._damaged(number)
        return found

    def _damaged(self, number: int) -> FileError:
        return FileError(
            f"the lease {self._path(number)} is damaged; delete it if nobody writes the run"
        )


def _left(holder: dict[str, Any]) -> float:
    """Return for how many seconds a lease lasts unless it is renewed."""
    return float(holder["renewed"]) + float(holder["lasts"]) - time.time()


def _alive(holder: dict[str, Any]) -> bool:
    """Whether a process of this machine that holds a lease is still there."""
    process = int(holder["process"])
    if process == os.getpid():
        return bool(holder["myself"] == _MYSELF)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
