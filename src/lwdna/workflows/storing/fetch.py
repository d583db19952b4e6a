"""A stored run brought into a local folder, where it goes on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from lwdna.errors import CheckpointError, FileError
from lwdna.files import atomic, read_json, write_json
from lwdna.locks import locked
from lwdna.settings import Settings
from lwdna.storage import failures, open_storage
from lwdna.workflows.storing.manifest import Manifest, Stored, read_manifest
from lwdna.workflows.storing.snapshot import State, look

_TRIES = 4
_BLOCK = 2**20


class _Known(Settings):
    """A local file that is the same as the stored one."""

    inode: int
    changed: int
    size: int
    sha256: str


class Record(Settings):
    """What a local folder has in common with a stored run; kept beside the folder."""

    url: str
    generation: int = 0
    fetching: bool = False
    """Whether the folder is being filled, so that nothing in it is the user's."""
    files: dict[str, _Known] = Field(default_factory=dict)

    @property
    def states(self) -> dict[str, State]:
        """The local files as they were when they were stored or fetched."""
        return {
            name: State(known.inode, known.changed, known.size)
            for name, known in self.files.items()
        }


def record_of(folder: Path, url: str) -> Record:
    """Return what a folder has in common with the run at an address; nothing if it is not there."""
    file = _record_file(folder)
    if not file.is_file() or not look(folder):
        return Record(url=url)
    try:
        found = Record.model_validate(read_json(file))
    except (FileError, ValidationError):  # as good as none
        return Record(url=url)
    return found if found.url == url else Record(url=url)


def write_record(folder: Path, url: str, manifest: Manifest, states: Mapping[str, State]) -> None:
    """Write down that local files are the same as those of a manifest."""
    files = {
        name: {
            "inode": state.inode,
            "changed": state.changed,
            "size": state.size,
            "sha256": manifest.files[name].sha256,
        }
        for name, state in states.items()
        if name in manifest.files
    }
    write_json(
        _record_file(folder), {"url": url, "generation": manifest.generation, "files": files}
    )


def fetch_run(url: str, folder: Path) -> Manifest:
    """Bring a folder to the state of the stored run, unless it is that, or goes on from it.

    Processes of one machine fetch one after the other, and find what the first has fetched.

    Returns:
        The newest manifest.

    Raises:
        CheckpointError: an object is damaged or missing; it is named.
        FileError: folder and storage went on from one state in different ways; or one of them
            cannot be read or written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.fetch.lock"), wait=True, required=False):
        manifest, record = read_manifest(url), record_of(folder, url)
        if manifest.generation == record.generation:  # or there is neither
            return manifest
        there = look(folder)
        if there != record.states and not record.fetching:
            raise FileError(
                f"{folder} and {url} hold states of a run that do not follow from each other; "
                f"move {folder} away to go on from the storage, or choose another --out"
            )
        write_json(_record_file(folder), {"url": url, "fetching": True})
        same = {
            name
            for name, known in record.files.items()
            if name in manifest.files and known.sha256 == manifest.files[name].sha256
        }
        for name in sorted(there.keys() - manifest.files.keys()):
            (folder / name).unlink()
        for name, stored in manifest.files.items():
            if name not in same:
                _fetch(url, stored, folder / name)
        write_record(folder, url, manifest, look(folder))
        return manifest


def _fetch(url: str, stored: Stored, path: Path) -> None:
    """Fetch an object and look whether it is what was stored.

    Raises:
        CheckpointError: it is missing, or other contents.
        FileError: it cannot be fetched or written.
    """
    files, root = open_storage(url)
    for left in reversed(range(_TRIES)):
        try:
            with failures(f"cannot fetch {url}/{stored.key}"), atomic(path) as temporary:
                try:
                    files.get_file(f"{root}/{stored.key}", str(temporary))
                except FileNotFoundError as error:
                    raise CheckpointError(
                        f"{url}/{stored.key} is missing, which is {path.name} of the run; restore "
                        "it, or start the run again at another address"
                    ) from error
                if digest_of(temporary) != stored.sha256:
                    raise CheckpointError(
                        f"{url}/{stored.key} is damaged, which is {path.name} of the run: its "
                        "contents are not those that were stored (the SHA-256 differs); restore "
                        "it, or start the run again at another address"
                    )
            return
        except FileError:
            if not left:
                raise
            time.sleep(2.0 ** (_TRIES - left) / 4)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _record_file(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.stored.json")
