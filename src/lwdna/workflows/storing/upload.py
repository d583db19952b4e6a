"""A run's files on their way into a storage, in a thread beside the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lwdna.errors import FileError, LockedError
from lwdna.storage import open_storage, reason
from lwdna.workflows.storing.fetch import digest_of, record_of, write_record
from lwdna.workflows.storing.lease import Lease
from lwdna.workflows.storing.manifest import (
    OBJECTS,
    Manifest,
    Stored,
    orphans,
    remove_objects,
    write_manifest,
)
from lwdna.workflows.storing.snapshot import State, snapshot

T = TypeVar("T")


@dataclass(frozen=True)
class Pace:
    """How often a run is stored, and how patiently; all in seconds."""

    every: float = 15.0
    """Between two looks for what is new."""
    stall: float = 120.0
    """Without a sign of life after which a request is given up and made again."""
    first_wait: float = 1.0
    """After the first failure; twice as long after each that follows."""
    longest_wait: float = 60.0
    give_up: float = 600.0
    """At the end of a run: without any success after which it is given up."""
    lease: float = 180.0
    """That a writer who died keeps others out."""


class Upload:
    """Store whatever changes in a run's folder until :meth:`finish`.

    Args:
        url: where to.
        folder: the run's folder.
        lease: held by this process.
        manifest: the newest at ``url``.
        say: told of failures, and when they are over.
        pace: how often and how patiently.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        lease: Lease,
        manifest: Manifest,
        say: Callable[[str], None],
        pace: Pace,
    ) -> None:
        self._url, self._folder, self._lease = url, folder, lease
        self._manifest, self._say, self._pace = manifest, say, pace
        self._written = manifest.generation
        """The last generation that anything was sent of."""
        self._sent: set[str] = set()
        """Objects that are there, or may be, and count in no manifest."""
        self._arrived: dict[str, Stored] = {}
        """Those of them that are there, by their digest."""
        self._known: dict[str, State] = record_of(folder, url).states
        self._fault: str | None = None
        self._ending, self._given_up = threading.Event(), threading.Event()
        self._publish = False
        self._alive = time.monotonic()
        self._done = False
        self._threads = [
            threading.Thread(target=work, name=f"lwdna-{name}", daemon=True)
            for name, work in (("upload", self._work), ("lease", self._keep_lease))
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def finish(self, publish: bool) -> None:
        """Store the last state and end.

        Args:
            publish: whether to give all files their own names in the storage.

        Raises:
            FileError: the last state could not be stored.
        """
        self._publish, self._alive = publish, time.monotonic()
        self._ending.set()
        while self._threads[0].is_alive():
            self._threads[0].join(0.05)
            if time.monotonic() - self._alive > self._pace.give_up:
                break
        self._given_up.set()
        if not self._done:
            raise FileError(
                f"the last state of the run is not in {self._url} ({self._fault or 'no answer'}); "
                f"it is kept in {self._folder}, and --resume on this machine stores it"
            )

    def _work(self) -> None:
        with suppress(Exception):  # what is left of writers that died does no harm
            self._within(self._sweep)
        wait = 0.0
        while not self._given_up.is_set():
            if wait:
                self._given_up.wait(wait)
            else:
                self._ending.wait(self._pace.every)
            ending = self._ending.is_set()
            try:
                stored = self._store()
                if stored and ending and self._publish:
                    self._name()
            except LockedError as lost:
                self._fault = reason(lost)
                self._say(f"storing ends: {self._fault}")
                return
            except Exception as error:  # each kind of storage has errors of its own
                if self._fault is None:
                    self._say(
                        f"storing in {self._url} fails ({reason(error)}); the run goes on, and it "
                        "is tried again"
                    )
                self._fault = reason(error)
                wait = min(max(2 * wait, self._pace.first_wait), self._pace.longest_wait)
                continue
            if self._fault is not None:
                self._say(f"storing in {self._url} works again")
            self._fault, wait = None, 0.0 if stored or not ending else self._pace.first_wait
            if stored and ending:
                self._done = True
                return

    def _sweep(self) -> None:
        remove_objects(self._url, orphans(self._url, self._manifest), self._manifest.generation)

    def _store(self) -> bool:
        """Store what is new; return whether that was possible, because the files stood still."""
        with snapshot(self._folder, self._known) as taken:
            if taken is None:
                return False
            seen, copies = taken
            if self._manifest.files and not seen:
                raise FileError(f"the files in {self._folder} have gone")
            generation = self._written = self._written + 1
            files = {}
            for name in seen:
                old = self._manifest.files.get(name)
                if name not in copies and old is not None:
                    files[name] = old
                    continue
                copy = copies.get(name, self._folder / name)
                digest, size = digest_of(copy), copy.stat().st_size
                if old is not None and old.sha256 == digest:
                    files[name] = old
                    continue
                if digest not in self._arrived:
                    key = f"{OBJECTS}/{generation:08d}-{digest[:32]}"
                    self._send(copy, Stored(key=key, size=size, sha256=digest))
                files[name] = self._arrived[digest]
        if files != self._manifest.files:
            self._commit(Manifest(generation, files))
        if seen != self._known:
            self._known = seen
            write_record(self._folder, self._url, self._manifest, seen)
        return True

    def _send(self, copy: Path, stored: Stored) -> None:
        """Send a file, and look whether it has arrived."""

        def put(progress: Any) -> None:
            files, root = open_storage(self._url)
            path = f"{root}/{stored.key}"
            files.put_file(str(copy), path, callback=progress)
            files.invalidate_cache(path)
            arrived = files.info(path)["size"]
            if arrived != stored.size:
                raise OSError(f"{arrived} of {stored.size} bytes of {stored.key} have arrived")

        self._sent.add(stored.key)
        self._within(put, self._progress())
        self._arrived[stored.sha256] = stored

    def _commit(self, manifest: Manifest) -> None:
        """Make new files count, then remove those that do not any more."""
        self._within(self._lease.renew)
        self._within(write_manifest, self._url, manifest)
        doomed = (self._sent | self._manifest.keys) - manifest.keys
        self._manifest, self._sent, self._arrived = manifest, set(), {}
        with suppress(Exception):  # what is left is removed when the run goes on
            self._within(remove_objects, self._url, doomed, manifest.generation)

    def _name(self) -> None:
        """Give every file its own name below the run's address."""

        def copy(key: str, name: str) -> None:
            files, root = open_storage(self._url)
            files.cp_file(f"{root}/{key}", f"{root}/{name}")

        files = {}
        for name, stored in self._manifest.files.items():
            if stored.key != name:
                self._within(copy, stored.key, name)
            files[name] = stored.model_copy(update={"key": name})
        if files != self._manifest.files:
            self._written += 1
            self._commit(Manifest(self._written, files))
            write_record(self._folder, self._url, self._manifest, self._known)

    def _within(self, work: Callable[..., T], *args: Any) -> T:
        """Do something in a storage; give it up when there is no sign of life any more.

        Raises:
            TimeoutError: there was none for too long. The thread is left to itself.
        """
        results: list[T] = []
        faults: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work(*args))
            except BaseException as error:
                faults.append(error)

        thread = threading.Thread(target=run, name="lwdna-storage", daemon=True)
        began = self._beat = time.monotonic()
        thread.start()
        while thread.is_alive():
            thread.join(0.02 if time.monotonic() - began < 1 else 0.2)
            if time.monotonic() - self._beat > self._pace.stall:
                raise TimeoutError(f"no answer for {self._pace.stall:.0f} s")
        if faults:
            raise faults[0]
        self._alive = time.monotonic()
        return results[0]

    def _progress(self) -> Any:
        """Return what fsspec tells of bytes that have been sent."""
        from fsspec.callbacks import Callback

        upload = self

        class Progress(Callback):  # type: ignore[misc]
            def call(self, *_: Any, **__: Any) -> None:
                upload._beat = upload._alive = time.monotonic()

        return Progress()

    def _keep_lease(self) -> None:
        while not self._given_up.wait(self._pace.lease / 6):
            with suppress(Exception):  # it is looked at before anything counts
                self._lease.renew()
