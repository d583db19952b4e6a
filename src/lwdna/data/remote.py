"""Folders of a data set in a storage, seen through a listing, and images in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lwdna.data.image_files import EXTENSIONS, open_content
from lwdna.data.images import Labels, Positions
from lwdna.data.progress import follow
from lwdna.data.stored import END
from lwdna.engine.fingerprint import Stored
from lwdna.errors import DataError, FileError
from lwdna.files import cache_folder, read_json, write_json
from lwdna.locks import locked
from lwdna.storage import Entry, fetch_file, list_storage, read_storage

_THREADS = 16
_SHOWN = 200
"""Files per folder, other than images, that the sign of a format is looked for among."""


class RemoteFolder:
    """A folder in a storage as its listing shows it; stands for a ``Path`` where names are asked.

    Args:
        url: its address.
        entries: the objects below it, by their path from there.
    """

    def __init__(self, url: str, entries: Mapping[str, Entry]) -> None:
        self.url = url
        self.entries = entries

    @classmethod
    def at(cls, url: str) -> RemoteFolder:
        """List an address.

        Raises:
            DataError: there is nothing, or an object has a name that no file may have.
            FileError: the storage cannot be read.
        """
        url = url.rstrip("/")
        entries = list_storage(url)
        if not entries:
            raise DataError(f"there is nothing at {url}; data.root must name a folder of images")
        for name in entries:
            if name.startswith("/") or ".." in PurePosixPath(name).parts or "\\" in name:
                raise DataError(f"{url} holds {name!r}, which is no safe name; rename it")
        return cls(url, entries)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemoteFolder:
        return RemoteFolder(f"{self.url}/{name}", self._inside.get(name, {}))

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.url.rpartition("/")[2]

    @property
    def folders(self) -> list[str]:
        """The names of the folders in it, ascending."""
        return sorted(self._inside)

    @property
    def files(self) -> list[str]:
        """The names of the files directly in it, ascending."""
        return [name for name in self.entries if "/" not in name]

    def matching(self, pattern: str) -> list[str]:
        """Return the paths of the files that match a pattern as :meth:`pathlib.Path.glob`'s."""
        parts = pattern.split("/")
        return [
            name
            for name in self.entries
            if name.count("/") == len(parts) - 1 and all(map(fnmatchcase, name.split("/"), parts))
        ]

    def walk(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield as :func:`os.walk` does, from the top; folders taken out of the list are left."""
        folders = self.folders
        yield self.url, folders, self.files
        for name in folders:
            yield from (self / name).walk()

    def show(self, place: Path) -> None:
        """Make an empty copy with what tells formats apart: of images in a folder only one."""
        shown: dict[str, int] = {}
        for name in self.entries:
            folder = name.rpartition("/")[0]
            kind = "image" if name.lower().endswith(EXTENSIONS) else "other"
            count = shown[f"{kind} {folder}"] = shown.get(f"{kind} {folder}", 0) + 1
            if count <= (1 if kind == "image" else _SHOWN):
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).touch()

    @cached_property
    def _inside(self) -> dict[str, dict[str, Entry]]:
        found: dict[str, dict[str, Entry]] = {}
        for name, entry in self.entries.items():
            first, slash, rest = name.partition("/")
            if slash:
                found.setdefault(first, {})[rest] = entry
        return found


Folder = Path | RemoteFolder
"""Where the files of a data set lie."""


@dataclass(frozen=True)
class RemoteImages:
    """Images in a storage, an object each; every one is read when it is needed.

    Args:
        url: the folder's address.
        names: paths from there, encoded by ``os.fsencode``.
        sizes: bytes of each.
        states: what changes with each, hashed.
        labels: class of each.
    """

    url: str
    names: NDArray[np.bytes_]
    sizes: NDArray[np.int64]
    states: NDArray[np.bytes_]
    labels: Labels

    @classmethod
    def of(cls, folder: RemoteFolder, names: NDArray[np.bytes_], labels: Labels) -> RemoteImages:
        """Return the images of these names below a folder."""
        entries = [folder.entries[bytes(name).decode(errors="surrogateescape")] for name in names]
        states = [hashlib.blake2b(one.state.encode(), digest_size=8).hexdigest() for one in entries]
        sizes = np.array([one.size for one in entries], dtype=np.int64)
        return cls(folder.url, names, sizes, np.array(states, dtype=np.bytes_), labels)

    def name(self, index: int) -> str:
        return f"{self.url}/{bytes(self.names[index]).decode(errors='surrogateescape')}"

    def open(self, index: int) -> Image.Image:
        name = self.name(index)
        try:
            content = read_storage(name)
        except FileError as error:
            raise DataError(f"{error}; restore the image or remove it from the data set") from error
        return open_content(content, name)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.url.encode(errors="surrogateescape"))
        digest.update(self.names.tobytes() + self.sizes.tobytes() + self.states.tobytes())
        return digest.hexdigest()

    def stored(self) -> Stored:
        """Say what a local folder with the same files says."""

        def content(index: int) -> bytes:
            name, size = self.name(index), int(self.sizes[index])
            try:
                if size <= 2 * END:
                    return read_storage(name)
                return read_storage(name, 0, END) + read_storage(name, size - END, size)
            except FileError:  # reading it will say so
                return b""

        def sizes(places: Sequence[int]) -> list[int]:
            found: list[int] = self.sizes[list(places)].tolist()
            return found

        return Stored(self.labels, content, names=self.names, sizes=sizes)

    def take(self, kept: Positions, labels: Labels) -> RemoteImages:
        parts = (self.names[kept], self.sizes[kept], self.states[kept])
        return RemoteImages(self.url, *parts, labels)


def local_copy(place: Path | str | RemoteFolder) -> Path:
    """Return a folder with the files of a data set; those in a storage are fetched into the cache.

    Files that are there and have not changed in the storage since are not fetched again.

    Raises:
        DataError: there is nothing at the address.
        FileError: the storage cannot be read, or the disk is full.
    """
    if isinstance(place, Path):
        return place
    source = RemoteFolder.at(place) if isinstance(place, str) else place
    name = hashlib.sha256(source.url.encode(errors="surrogateescape")).hexdigest()[:16]
    folder = cache_folder() / "sets" / name
    folder.mkdir(parents=True, exist_ok=True)
    record = folder.with_suffix(".json")
    with locked(folder.with_suffix(".lock"), wait=True, required=False):
        try:
            known = read_json(record)
        except FileError:  # nothing was fetched
            known = {}
        states = {path: entry.state for path, entry in source.entries.items()}
        for path in known.keys() - states.keys():
            (folder / path).unlink(missing_ok=True)
        wanted = [
            path
            for path, state in states.items()
            if known.get(path) != state or not (folder / path).is_file()
        ]

        def fetch(path: str) -> int:
            fetch_file(f"{source.url}/{path}", folder / path, source.entries[path].size)
            return 1

        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                follow(pool.map(fetch, wanted), len(wanted), f"fetching {source.url}")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        if wanted or known.keys() != states.keys():
            write_json(record, states)
    return folder
