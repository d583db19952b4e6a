"""Which files below a folder are images of a data set, and which are somebody else's leavings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lwdna.data.image_files import EXTENSIONS
from lwdna.data.remote import Folder, RemoteFolder
from lwdna.errors import DataError

_SYSTEM = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "lost+found", "$recycle.bin"}
"""What macOS, Windows, Synology and Linux leave in folders, in small letters."""
_UNREAD = (
    ".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".jfif", ".svg", ".psd", ".raw", ".dng",
    ".cr2", ".nef", ".arw",
)  # fmt: skip
"""Endings of pictures that lwdna does not read; who has some should know."""
_LOOKED_AT = 1000
"""Folders looked into in search of one image."""


@dataclass
class Listing:
    """What lies below a folder."""

    images: list[str] = field(default_factory=list)
    """Paths below the folder: ascending by folder, then by name."""
    unread: Counter[str] = field(default_factory=Counter)
    """How many pictures of kinds that are not read, by ending."""


def is_hidden(name: str) -> bool:
    """Whether a name is hidden (``.ipynb_checkpoints``) or the system's (``__MACOSX``)."""
    return name.startswith(".") or name.lower() in _SYSTEM


def is_image(name: str) -> bool:
    """Whether a file is taken for an image, by its ending."""
    return name.lower().endswith(EXTENSIONS)


def visible_folders(root: Folder) -> list[str]:
    """Return the names of the folders in ``root`` that are not hidden, ascending.

    Raises:
        DataError: ``root`` cannot be read.
    """
    if isinstance(root, RemoteFolder):
        return [name for name in root.folders if not is_hidden(name)]
    try:
        with os.scandir(root) as entries:
            return sorted(e.name for e in entries if not is_hidden(e.name) and e.is_dir())
    except OSError as error:
        raise _unreadable(error, str(root)) from error


def images_in(root: Folder) -> list[str]:
    """Return the names of the images that lie directly in ``root``, ascending."""
    names = root.files if isinstance(root, RemoteFolder) else os.listdir(root)
    return sorted(name for name in names if is_image(name) and not is_hidden(name))


def list_images(folder: Folder) -> Listing:
    """List all images below a folder; links are followed, hidden files and folders left out.

    Raises:
        DataError: a folder cannot be read.
    """
    found = Listing()
    start = len(str(folder)) + 1
    for place, names in sorted(_walk(folder)):
        inside = place[start:]
        for name in sorted(names):
            if is_image(name):
                found.images.append(os.path.join(inside, name))
            elif name.lower().endswith(_UNREAD):
                found.unread[os.path.splitext(name)[1].lower()] += 1
    return found


def holds_images(folder: Folder) -> bool:
    """Whether there is an image below a folder, as far as a short look shows."""
    for count, (_, names) in enumerate(_walk(folder)):
        if any(map(is_image, names)):
            return True
        if count == _LOOKED_AT:
            break
    return False


def unread_note(folder: Folder, unread: Counter[str]) -> str:
    """Return a sentence about pictures of kinds that are not read, ``""`` if there are none."""
    if not unread:
        return ""
    kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(unread.items()))
    return f"left out pictures below {folder} of kinds that lwdna does not read: {kinds}"


def stray_note(folder: Folder, names: Sequence[str]) -> str:
    """Return a sentence about images outside of class folders, ``""`` if there are none."""
    if not names:
        return ""
    images = f"image {names[0]}" if len(names) == 1 else f"{len(names)} images ({names[0]}, ...)"
    return f"left out the {images} in {folder}, outside of class folders"


def _walk(folder: Folder) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder below ``folder``, and itself, with the files in it; each folder once."""
    if isinstance(folder, RemoteFolder):
        for place, folders, names in folder.walk():
            folders[:] = [name for name in folders if not is_hidden(name)]
            yield place, [name for name in names if not is_hidden(name)]
        return
    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        state = os.stat(place)
        if (state.st_dev, state.st_ino) in seen:  # a link to a folder above leads round for ever
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = [name for name in folders if not is_hidden(name)]
        yield place, [name for name in names if not is_hidden(name)]


def _raise(error: OSError) -> None:
    raise _unreadable(error, error.filename) from error


def _unreadable(error: OSError, folder: str) -> DataError:
    return DataError(
        f"cannot read the folder {folder}: {error.strerror or error}; make it readable or remove it"
    )
