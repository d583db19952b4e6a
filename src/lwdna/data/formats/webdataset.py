"""Images in tar files as WebDataset writes them: ``<key>.jpg`` beside ``<key>.cls``.

Tar files have no table of contents, so their headers are read once and where every image begins
is remembered; images are then read in any order, without unpacking anything. Of shards in a storage
the headers are read there; a shard is fetched when one of its images is needed.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lwdna.arrays import read_arrays, write_arrays
from lwdna.data.data_format import DataFormat, Half, register_format
from lwdna.data.image_files import EXTENSIONS, MAX_BYTES, open_content
from lwdna.data.images import Labels, ListedHalf, Positions, as_names
from lwdna.data.remote import Folder, RemoteFolder
from lwdna.data.shards import LocalShard, RemoteShard, Shard, fetched_ahead, opened
from lwdna.engine.fingerprint import Stored
from lwdna.errors import DataError, FileError
from lwdna.files import cache_folder

_MANY = 20_000
"""What is smaller is listed again rather than remembered."""
T = TypeVar("T")
_Index = dict[str, NDArray[Any]]


@register_format("webdataset")
class Shards(DataFormat):
    """Tar files; classes are called by their numbers, those of the two halves together."""

    layout = "WebDataset's train-*.tar and val-*.tar"
    supersedes = ("folder",)  # train/ may hold the files
    names_classes = False

    def detect(self, root: Path) -> bool:
        return bool(find_shards(root, "train"))

    def open(self, root: Path) -> tuple[Half, Half]:
        return self._halves(root)

    def open_remote(self, root: RemoteFolder) -> tuple[Half, Half]:
        return self._halves(root)

    def _halves(self, root: Folder) -> tuple[Half, Half]:
        halves = []
        for split in ("train", "val"):
            shards = find_shards(root, split)
            if split == "val":
                shards = shards or find_shards(root, "validation") or find_shards(root, "test")
            if not shards:
                raise DataError(f"{root} has no {split} shards; expected {split}-*.tar")
            halves.append(list_shards(shards))
        count = 1 + max(int(half.labels.max()) for half in halves)
        classes = tuple(str(number) for number in range(count))
        train, val = (ListedHalf(str(root), classes, half) for half in halves)
        return train, val


@dataclass(frozen=True)
class ShardImages:
    """Images at known places of tar files."""

    files: tuple[Shard, ...]
    """The tar files."""
    shards: NDArray[np.int32]
    """Number of the tar file of each image."""
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    names: NDArray[np.bytes_]
    labels: Labels

    def name(self, index: int) -> str:
        return f"{self._file(index).title}:{os.fsdecode(bytes(self.names[index]))}"

    def open(self, index: int) -> Image.Image:
        try:
            content = self._content(index)
        except OSError as error:
            raise DataError(
                f"cannot read the image {self.name(index)}: {error.strerror or error}; restore "
                "the file"
            ) from error
        except FileError as error:  # a shard that cannot be fetched
            raise DataError(str(error)) from error
        return open_content(content, self.name(index))

    def fingerprint(self) -> str:
        digest = hashlib.sha256(_state(self.files))
        digest.update(self.names.tobytes() + self.labels.tobytes())
        return digest.hexdigest()

    def stored(self) -> Stored:
        def content(index: int) -> bytes:
            try:
                return self._content(index)
            except (OSError, FileError):  # opening it will say so
                return b""

        return Stored(
            self.labels,
            content,
            names=self.names,
            sizes=lambda places: self.sizes[list(places)].tolist(),
        )

    def _content(self, index: int) -> bytes:
        with opened(self._file(index)) as file:
            file.seek(int(self.offsets[index]))
            return file.read(int(self.sizes[index]))

    def _file(self, index: int) -> Shard:
        return self.files[int(self.shards[index])]

    def ahead(self, batches: Iterator[T], indices: Sequence[Sequence[int]]) -> Iterator[T]:
        """Yield batches, while the shards of the next of them are fetched, if they are remote."""
        remote = [file for file in self.files if isinstance(file, RemoteShard)]
        if not remote:
            return batches
        uses = [np.unique(self.shards[list(used)]).tolist() for used in indices]
        return fetched_ahead(batches, uses, remote)

    def take(self, kept: Positions, labels: Labels) -> ShardImages:
        """Return some of the images, with other class numbers."""
        parts = (self.shards[kept], self.offsets[kept], self.sizes[kept], self.names[kept])
        return ShardImages(self.files, *parts, labels)


def find_shards(root: Folder, split: str) -> list[Shard]:
    """Return the tar files ``<split>*.tar``, ``*-<split>-*.tar`` and ``<split>/*.tar``."""
    patterns = (f"{split}*.tar", f"*-{split}-*.tar", f"{split}/*.tar")
    if isinstance(root, RemoteFolder):
        names = {name for pattern in patterns for name in root.matching(pattern)}
        return [
            RemoteShard(f"{root}/{name}", entry.size, entry.state)
            for name, entry in ((name, root.entries[name]) for name in sorted(names))
        ]
    paths = {path for pattern in patterns for path in root.glob(pattern)}
    return [LocalShard(str(path)) for path in sorted(paths)]


def list_shards(shards: Sequence[Shard]) -> ShardImages:
    """List the images of tar files, sorted by shard and place.

    Raises:
        DataError: a file is no plain tar file, or holds anything but images and their classes
            under safe names.
    """
    key = hashlib.sha256(b"1 " + _state(shards)).hexdigest()[:32]
    file = cache_folder() / f"shards-{key}.safetensors"
    index = _remembered(file)
    remote = any(isinstance(shard, RemoteShard) for shard in shards)
    if index is None:
        with ThreadPoolExecutor(16 if remote else min(16, os.cpu_count() or 1)) as pool:
            lists = list(pool.map(_list_shard, shards))
        entries = [(i, *entry) for i, entries in enumerate(lists) for entry in entries]
        if not entries:
            raise DataError(f"{shards[0].title} and its like hold no images; make the shards again")
        numbers, names, offsets, sizes, labels = zip(*entries, strict=True)
        packed = as_names(names)
        index = {
            "shards": np.array(numbers, dtype=np.int32),
            "offsets": np.array(offsets, dtype=np.int64),
            "sizes": np.array(sizes, dtype=np.int64),
            "names": packed.view(np.uint8).reshape(len(packed), -1),
            "labels": np.array(labels, dtype=np.int64),
        }
        if remote or len(entries) >= _MANY:
            _remember(file, index)
    letters = index.pop("names")
    return ShardImages(
        files=tuple(shards),
        names=np.ascontiguousarray(letters).view(f"S{letters.shape[1]}").ravel(),
        **index,
    )


def _list_shard(shard: Shard) -> list[tuple[str, int, int, int]]:
    """Return name, offset, size and class of every image of a tar file."""
    path = shard.title
    images: dict[str, tuple[str, int, int]] = {}
    classes: dict[str, int] = {}
    try:
        with shard.list() as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in _safe(path, archive):
                # WebDataset: the key of a sample ends at the first dot of the file's own name
                folder, _, last = member.name.rpartition("/")
                key, _, kind = last.partition(".")
                key = f"{folder}/{key}"
                if f".{kind.lower()}" in EXTENSIONS:
                    if key in images:
                        raise DataError(f"{path} holds two images of the name {key.strip('/')}")
                    images[key] = member.name, member.offset_data, member.size
                elif kind == "cls":
                    classes[key] = _class(path, archive, member)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"{path} is no readable, uncompressed tar file ({error}); fetch or make it again"
        ) from error
    missing = [name for key, (name, *_) in images.items() if key not in classes]
    if missing:
        raise DataError(
            f"{path}: {missing[0]} has no class; expected <key>.jpg beside <key>.cls, which holds "
            "the class's number"
        )
    return [(*place, classes[key]) for key, place in images.items()]


def _safe(path: str, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        if member.isdir():
            continue
        parts = PurePosixPath(member.name).parts
        unsafe = member.name.startswith("/") or ".." in parts or "\\" in member.name
        if unsafe or not member.isreg() or member.issparse():
            raise DataError(
                f"{path} holds {member.name!r}, which is no plain file under a safe name; make "
                "the archive again without it"
            )
        if member.size > MAX_BYTES:
            raise DataError(
                f"{member.name} of {path} has {member.size} bytes, more than an image may have "
                f"({MAX_BYTES}); remove it from the archive"
            )
        yield member


def _class(path: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    content = archive.extractfile(member)
    text = content.read(32).strip() if content is not None else b""
    if not text.isdigit() or len(text) > 9:
        raise DataError(f"{path}: {member.name} holds {text!r} instead of a class's number")
    return int(text)


def _state(shards: Sequence[Shard]) -> bytes:
    """Return bytes that change with the files."""
    return "".join(shard.state for shard in shards).encode(errors="surrogateescape")


def _remembered(file: Path) -> _Index | None:
    try:
        return read_arrays(file, checked=True)
    except FileError:
        return None


def _remember(file: Path, index: _Index) -> None:
    try:
        write_arrays(file, index)
    except FileError:  # a list that cannot be kept is made again
        return
