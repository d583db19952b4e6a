"""Images in tar files as WebDataset writes them: ``<key>.jpg`` beside ``<key>.cls``.

Tar files have no table of contents, so their headers are read once and where every image begins
is remembered; images are then read in any order, without unpacking anything.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lwdna.arrays import read_arrays, write_arrays
from lwdna.data.data_format import DataFormat, Half, register_format
from lwdna.data.image_files import EXTENSIONS, MAX_BYTES, open_content
from lwdna.data.images import Labels, ListedHalf, Positions, as_names
from lwdna.engine.fingerprint import Stored
from lwdna.errors import DataError, FileError
from lwdna.files import cache_folder

_MANY = 20_000
"""What is smaller is listed again rather than remembered."""
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
        halves = []
        for split in ("train", "val"):
            paths = find_shards(root, split)
            if split == "val":
                paths = paths or find_shards(root, "validation") or find_shards(root, "test")
            if not paths:
                raise DataError(f"{root} has no {split} shards; expected {split}-*.tar")
            halves.append(list_shards(paths))
        count = 1 + max(int(half.labels.max()) for half in halves)
        classes = tuple(str(number) for number in range(count))
        train, val = (ListedHalf(str(root), classes, half) for half in halves)
        return train, val


@dataclass(frozen=True)
class ShardImages:
    """Images at known places of tar files."""

    paths: NDArray[np.bytes_]
    """Of the tar files, encoded by ``os.fsencode``."""
    shards: NDArray[np.int32]
    """Number of the tar file of each image."""
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    names: NDArray[np.bytes_]
    labels: Labels

    def name(self, index: int) -> str:
        return f"{self._path(index)}:{os.fsdecode(bytes(self.names[index]))}"

    def open(self, index: int) -> Image.Image:
        try:
            content = self._content(index)
        except OSError as error:
            raise DataError(
                f"cannot read the image {self.name(index)}: {error.strerror or error}; restore "
                "the file"
            ) from error
        return open_content(content, self.name(index))

    def fingerprint(self) -> str:
        digest = hashlib.sha256(_state([self._of(shard) for shard in range(len(self.paths))]))
        digest.update(self.names.tobytes() + self.labels.tobytes())
        return digest.hexdigest()

    def stored(self) -> Stored:
        def content(index: int) -> bytes:
            try:
                return self._content(index)
            except OSError:  # opening it will say so
                return b""

        return Stored(
            self.labels,
            content,
            names=self.names,
            sizes=lambda places: self.sizes[list(places)].tolist(),
        )

    def _content(self, index: int) -> bytes:
        with open(self._path(index), "rb") as file:
            file.seek(int(self.offsets[index]))
            return file.read(int(self.sizes[index]))

    def _path(self, index: int) -> str:
        return str(self._of(int(self.shards[index])))

    def _of(self, shard: int) -> Path:
        return Path(os.fsdecode(bytes(self.paths[shard])))

    def take(self, kept: Positions, labels: Labels) -> ShardImages:
        """Return some of the images, with other class numbers."""
        parts = (self.shards[kept], self.offsets[kept], self.sizes[kept], self.names[kept])
        return ShardImages(self.paths, *parts, labels)


def find_shards(root: Path, split: str) -> list[Path]:
    """Return the tar files ``<split>*.tar``, ``*-<split>-*.tar`` and ``<split>/*.tar``."""
    patterns = (f"{split}*.tar", f"*-{split}-*.tar", f"{split}/*.tar")
    return sorted({path for pattern in patterns for path in root.glob(pattern)})


def list_shards(paths: Sequence[Path]) -> ShardImages:
    """List the images of tar files, sorted by shard and place.

    Raises:
        DataError: a file is no plain tar file, or holds anything but images and their classes
            under safe names.
    """
    key = hashlib.sha256(b"1 " + _state(paths)).hexdigest()[:32]
    file = cache_folder() / f"shards-{key}.safetensors"
    index = _remembered(file)
    if index is None:
        with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
            lists = list(pool.map(_list_shard, paths))
        entries = [(i, *entry) for i, entries in enumerate(lists) for entry in entries]
        if not entries:
            raise DataError(f"{paths[0]} and its like hold no images; make the shards again")
        shards, names, offsets, sizes, labels = zip(*entries, strict=True)
        packed = as_names(names)
        index = {
            "shards": np.array(shards, dtype=np.int32),
            "offsets": np.array(offsets, dtype=np.int64),
            "sizes": np.array(sizes, dtype=np.int64),
            "names": packed.view(np.uint8).reshape(len(packed), -1),
            "labels": np.array(labels, dtype=np.int64),
        }
        if len(entries) >= _MANY:
            _remember(file, index)
    letters = index.pop("names")
    return ShardImages(
        paths=as_names([str(path) for path in paths]),
        names=np.ascontiguousarray(letters).view(f"S{letters.shape[1]}").ravel(),
        **index,
    )


def _list_shard(path: Path) -> list[tuple[str, int, int, int]]:
    """Return name, offset, size and class of every image of a tar file."""
    images: dict[str, tuple[str, int, int]] = {}
    classes: dict[str, int] = {}
    try:
        with tarfile.open(path, "r:") as archive:
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


def _safe(path: Path, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
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


def _class(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    content = archive.extractfile(member)
    text = content.read(32).strip() if content is not None else b""
    if not text.isdigit() or len(text) > 9:
        raise DataError(f"{path}: {member.name} holds {text!r} instead of a class's number")
    return int(text)


def _state(paths: Sequence[Path]) -> bytes:
    """Return bytes that change with the files."""
    parts = []
    for path in paths:
        state = path.stat()
        parts.append(f"{path.resolve()}\0{state.st_size}\0{state.st_mtime_ns}\0")
    return "".join(parts).encode(errors="surrogateescape")


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
