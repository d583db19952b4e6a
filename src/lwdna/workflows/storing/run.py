"""A run that works in a local folder and is kept in a storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lwdna.errors import FileError
from lwdna.storage import reason
from lwdna.workflows.storing.fetch import fetch_run
from lwdna.workflows.storing.lease import Lease
from lwdna.workflows.storing.upload import Pace, Upload


def _silent(_: str) -> None:
    """Say nothing."""


@contextmanager
def stored_run(
    url: str,
    folder: str | Path | None = None,
    *,
    say: Callable[[str], None] = _silent,
    pace: Pace = Pace(),
) -> Iterator[Path]:
    """Yield the local folder of the run at an address, and store what changes there meanwhile.

    >>> with stored_run("s3://bucket/runs/x") as folder:
    ...     run_training(recipe, folder, resume=True)

    What is stored of the run is fetched first. What the body writes is stored by a thread: failures
    are tried again and never stop the run. Of processes that were launched together the first
    stores; each machine works in a folder of its own. When the body ends without an error, the
    files get their own names below the address.

    Args:
        url: the run's address.
        folder: where to work; :func:`working_folder` unless given.
        say: told of failures, and of a storage that does not keep out a second writer.
        pace: how often and how patiently to store.

    Raises:
        LockedError: another process writes the run.
        CheckpointError: what is stored is damaged; the object is named.
        FileError: the storage cannot be read; or, at the end, the last state is not in the storage:
            then the folder keeps it.
    """
    url = url.rstrip("/")
    folder = working_folder(url) if folder is None else Path(folder)
    if int(os.environ.get("RANK", "0")):
        fetch_run(url, folder)
        yield folder
        return
    lease = Lease(url, pace.lease)
    if not lease.acquire():
        say(
            f"{url} is in a storage without conditional writes: make sure that no other process "
            "writes there"
        )
    try:
        upload = Upload(url, folder, lease, fetch_run(url, folder), say, pace)
        upload.start()
        try:
            yield folder
        except BaseException as error:
            try:
                upload.finish(publish=False)
            except FileError as lost:
                raise FileError(f"{lost}; what ended the run: {reason(error)}") from error
            raise
        upload.finish(publish=True)
    finally:
        lease.release()


def working_folder(url: str) -> Path:
    """Return where a run of this machine works that is kept at an address.

    ``s3://bucket/runs/x`` works in ``runs/s3/bucket/runs/x``; the variable ``LWDNA_SCRATCH`` names
    another folder than ``runs``.
    """
    kind, _, path = url.partition("://")
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return Path(os.environ.get("LWDNA_SCRATCH") or "runs").joinpath(kind, *parts)
