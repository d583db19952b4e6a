"""Which objects make up a run in a storage.

A run's files are objects under names of their own, so that none is overwritten while it is in
use. A manifest, written last, says which of them belong together; the newest counts. What it does
not name is removed after it is written. So a run is always whole in the storage, whenever its
writer dies, and a request that was given up and arrives late does no harm.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from lwdna.errors import CheckpointError
from lwdna.files import sealed, unsealed
from lwdna.settings import Settings
from lwdna.storage import failures, open_storage

CONTROL = ".lwdna"
"""The folder in a stored run that holds what is not the run's own."""
OBJECTS = f"{CONTROL}/objects"
_NAME = re.compile(r"manifest-(\d{8})\.json$")


class Stored(Settings):
    """A file of a run in a storage."""

    key: str
    """The object, below the address of the run."""
    size: int
    sha256: str


class _Contents(Settings):
    """What a manifest holds."""

    format: str = "lwdna-stored-run"
    version: int = 1
    files: dict[str, Stored]


@dataclass(frozen=True)
class Manifest:
    """The files of a run by their path below its folder, and how many manifests there were."""

    generation: int = 0
    files: Mapping[str, Stored] = field(default_factory=dict)

    @property
    def keys(self) -> set[str]:
        """The objects that are in use."""
        return {stored.key for stored in self.files.values()}


def read_manifest(url: str) -> Manifest:
    """Return the newest manifest at an address; an empty one where there is none.

    Raises:
        CheckpointError: it is damaged.
        FileError: the storage cannot be read.
    """
    files, root = open_storage(url)
    with failures(f"cannot read the run in {url}"):
        numbers = _numbers(files, root)
        if not numbers:
            return Manifest()
        name = f"{CONTROL}/{_name(numbers[-1])}"
        content = files.cat_file(f"{root}/{name}")
    try:
        contents = _Contents.model_validate(unsealed(json.loads(content)))
    except (ValidationError, ValueError) as error:
        raise CheckpointError(
            f"{url}/{name} is damaged ({str(error).splitlines()[0]}); restore it, or delete it to "
            "go on from the manifest before, if that is still there"
        ) from error
    return Manifest(numbers[-1], contents.files)


def write_manifest(url: str, manifest: Manifest) -> None:
    """Write a manifest; the ones before stay.

    Every generation is written once: one that seemed to fail may yet arrive.

    What a storage raises passes through.
    """
    files, root = open_storage(url)
    values = sealed(_Contents(files=dict(manifest.files)).model_dump(mode="json"))
    path = f"{root}/{CONTROL}/{_name(manifest.generation)}"
    files.pipe_file(path, json.dumps(values, indent=1).encode())


def remove_objects(url: str, keys: Iterable[str], before: int) -> None:
    """Remove objects that no manifest needs any more, and the manifests before a generation.

    What a storage raises passes through.
    """
    files, root = open_storage(url)
    old = [f"{CONTROL}/{_name(number)}" for number in _numbers(files, root) if number < before]
    for key in [*old, *sorted(keys)]:
        with suppress(FileNotFoundError):
            files.rm_file(f"{root}/{key}")


def orphans(url: str, manifest: Manifest) -> set[str]:
    """Return the objects that writers left which died. What a storage raises passes through."""
    files, root = open_storage(url)
    files.invalidate_cache()
    names = files.find(f"{root}/{OBJECTS}")
    return {name[len(root) + 1 :] for name in names} - manifest.keys


def _name(generation: int) -> str:
    return f"manifest-{generation:08d}.json"


def _numbers(files: Any, root: str) -> list[int]:
    """Return the generations of the manifests there are, ascending."""
    files.invalidate_cache()
    names = files.find(f"{root}/{CONTROL}", maxdepth=1)
    return sorted(int(match[1]) for match in map(_NAME.search, names) if match)
