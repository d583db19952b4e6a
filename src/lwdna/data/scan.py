"""A look at every image file before anything is learnt from it: sizes, and what cannot be decoded.

What was seen of a file is kept in the cache by its path, size and time of change, so that a file
is decoded once.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lwdna.arrays import read_arrays, write_arrays
from lwdna.data.cache import MIN_SECONDS
from lwdna.data.image_files import DECODING, open_file, size_of, upright
from lwdna.data.images import FolderImages
from lwdna.data.progress import follow
from lwdna.errors import DataError, FileError
from lwdna.files import cache_folder
from lwdna.locks import locked

_CHUNK = 64
_KEY = 16
"""Bytes of the digest of a file's path, size and time."""
_COARSE = 8
"""JPEG is decoded at an eighth of its size: all data are read, most arithmetic is spared."""
_NAMED = 20
"""Damaged files that an error names."""
_EXAMPLES = 2
"""Pairs of files that are the same that a note names."""

Sizes = NDArray[np.int32]
Size = tuple[int, int]


@dataclass(frozen=True)
class Scan:
    """What a look at image files showed."""

    sizes: Sizes
    """Width and height of each as it is seen, shape (N, 2); zeros where it cannot be decoded."""
    faults: dict[int, str]
    """What is wrong, in a clause, by number of the file."""
    digests: NDArray[np.bytes_]
    """Of the contents of each, shape (N,); empty where it cannot be decoded."""


@dataclass(frozen=True)
class _Seen:
    """What is kept of a file."""

    size: Size
    digest: bytes


def scan(images: FolderImages) -> Scan:
    """Decode every file that was not decoded before; in a terminal with a progress bar.

    Of several processes one looks, the others wait for what it has seen.
    """
    folder = hashlib.sha256(os.fsencode(images.root.resolve())).hexdigest()[:32]
    file = cache_folder() / f"scan-{folder}.safetensors"
    keys = _keys(images)
    known = _read(file)
    if all(key in known for key in keys):
        return _gathered(images, keys, known, {})
    with _one_at_a_time(file):
        known = _read(file)
        missing = [index for index, key in enumerate(keys) if key not in known]
        start = time.monotonic()
        seen, faults = _look(images, missing)
        fresh = {keys[index]: one for index, one in seen.items() if keys[index]}
        known |= fresh
        if fresh and time.monotonic() - start >= MIN_SECONDS:
            _write(file, known)
    return _gathered(images, keys, known, faults)


def twins(
    train: tuple[FolderImages, Scan], val: tuple[FolderImages, Scan]
) -> list[tuple[str, str]]:
    """Return the images of the validation half that are in the training half, too.

    Args:
        train: the files to learn from, and what a look at them showed.
        val: the same of those to validate on.

    Returns:
        Which file is the same, byte for byte, as which; in the order of the files.
    """
    known = {bytes(digest): place for place, digest in enumerate(train[1].digests) if digest}
    return [
        (_shown(val[0], place), _shown(train[0], known[bytes(digest)]))
        for place, digest in enumerate(val[1].digests)
        if bytes(digest) in known
    ]


def twins_note(found: Sequence[tuple[str, str]], count: int) -> str:
    """Return a sentence about images that are in both halves, ``""`` if there are none.

    Args:
        found: pairs of names.
        count: number of validation images.
    """
    if not found:
        return ""
    examples = ", ".join(f"{one} is {other}" for one, other in found[:_EXAMPLES])
    more = ", ..." if len(found) > _EXAMPLES else ""
    return (
        f"{len(found)} of {count} validation images are among the training images, too "
        f"({examples}{more}), so that the figures are better than they should be; remove them from "
        "either"
    )


def _shown(images: FolderImages, place: int) -> str:
    return os.path.join(images.root.name, os.fsdecode(bytes(images.names[place])))


def fault_message(faults: Sequence[str], count: int) -> str:
    """Return the error that names the files which cannot be used."""
    shown = ", ".join(faults[:_NAMED])
    more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    them = "it" if len(faults) == 1 else "them"
    return (
        f"{len(faults)} of {count} image files cannot be used: {shown}{more}; restore {them}, "
        f"remove {them} from the data set, or leave {them} out (data.skip_damaged=true)"
    )


def _look(images: FolderImages, indices: Sequence[int]) -> tuple[dict[int, _Seen], dict[int, str]]:
    """Decode the files of these numbers; return what they are, or what is wrong with them."""
    found: dict[int, _Seen] = {}
    faults: dict[int, str] = {}

    def work(start: int) -> int:
        part = indices[start : start + _CHUNK]
        for index in part:
            try:
                found[index] = _decoded(images.name(index))
            except DataError as error:
                faults[index] = str(error).rpartition("; ")[0].removeprefix("the image ")
        return len(part)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            done = pool.map(work, range(0, len(indices), _CHUNK))
            follow(done, len(indices), "checking images")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found, faults


def _decoded(name: str) -> _Seen:
    """Return what there is to know of an image that can be decoded.

    Raises:
        DataError: it cannot.
    """
    image = open_file(name)
    size = size_of(image)
    image.draft(None, (image.width // _COARSE, image.height // _COARSE))  # JPEG only
    upright(image, name)
    with open(name, "rb") as file:  # from memory, after it was decoded
        digest = hashlib.blake2b(file.read(), digest_size=_KEY).digest()
    return _Seen(size, digest)


def _keys(images: FolderImages) -> list[bytes]:
    """Return what tells every file, as it is now, from others; ``b""`` where there is none."""
    root = os.fsencode(images.root.resolve())
    keys = []
    for name in images.names:
        path = os.path.join(root, bytes(name))
        try:
            state = os.stat(path)
        except OSError:  # decoding it will say so
            keys.append(b"")
            continue
        text = b"%s\0%d\0%d\0%d" % (path, state.st_size, state.st_mtime_ns, DECODING)
        keys.append(hashlib.blake2b(text, digest_size=_KEY).digest())
    return keys


def _gathered(
    images: FolderImages,
    keys: Sequence[bytes],
    known: dict[bytes, _Seen],
    faults: dict[int, str],
) -> Scan:
    nothing = _Seen((0, 0), b"")
    found = [known.get(key, nothing) for key in keys]
    sizes = np.array([one.size for one in found], dtype=np.int32).reshape(-1, 2)
    digests = np.array([one.digest for one in found], dtype=f"S{_KEY}")
    return Scan(sizes, dict(sorted(faults.items())), digests)


def _read(file: Path) -> dict[bytes, _Seen]:
    try:
        kept = read_arrays(file, checked=True)
        keys, digests = (_cut(kept[name]) for name in ("keys", "digests"))
        sizes = kept["sizes"].tolist()
    except (FileError, KeyError):  # as good as none
        return {}
    return {
        key: _Seen((width, height), digest)
        for key, digest, (width, height) in zip(keys, digests, sizes, strict=True)
    }


def _cut(packed: NDArray[np.uint8]) -> list[bytes]:
    data = packed.tobytes()
    return [data[start : start + _KEY] for start in range(0, len(data), _KEY)]


def _write(file: Path, known: dict[bytes, _Seen]) -> None:
    packed = {"keys": b"".join(known), "digests": b"".join(one.digest for one in known.values())}
    arrays = {name: np.frombuffer(data, dtype=np.uint8) for name, data in packed.items()}
    sizes = np.array([one.size for one in known.values()], dtype=np.int32)
    try:
        write_arrays(file, {**arrays, "sizes": sizes})
    except FileError:
        return


@contextmanager
def _one_at_a_time(file: Path) -> Iterator[None]:
    """Wait for other processes that look at the same folder, where the cache can be locked."""
    with ExitStack() as stack:
        with suppress(OSError, FileError):
            file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(file.with_suffix(".lock"), wait=True, required=False))
        yield
