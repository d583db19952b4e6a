"""Storages and numbered images, to see what is read from where and how often."""

from __future__ import annotations

import random
import tarfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import torch
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from lwdna.engine import order
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from tests.tasks.test_shards import add

COUNT = 24
"""Training images of a numbered set."""
_CLASSES = ("ant", "bee", "cat")


def numbered_folder(root: Path) -> Path:
    """Write pictures of one colour each, its number, half as many to validate."""
    for half, count in (("train", COUNT), ("val", COUNT // 2)):
        for number in range(count):
            place = root / half / _CLASSES[number * 3 // count]
            place.mkdir(parents=True, exist_ok=True)
            pixels = np.full((16, 16, 3), number, dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{number:02d}.png")
    return root


def numbered_shards(folder: Path, root: Path) -> Path:
    """Write the pictures of :func:`numbered_folder` as tar files of four each, classes mixed."""
    root.mkdir()
    for half in ("train", "val"):
        files = sorted((folder / half).glob("*/*.png"), key=lambda file: int(file.stem) * 7 % COUNT)
        for start in range(0, len(files), 4):
            with tarfile.open(root / f"{half}-{start // 4:03d}.tar", "w") as archive:
                for file in files[start : start + 4]:
                    label = str(_CLASSES.index(file.parent.name)).encode()
                    add(archive, f"{file.stem}.png", file.read_bytes())
                    add(archive, f"{file.stem}.cls", label)
    return root


def upload(folder: Path, url: str) -> str:
    """Copy a local folder to an address."""
    files, place = fsspec.core.url_to_fs(url)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            files.pipe_file(f"{place}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    files.invalidate_cache()
    return url


def numbered_task(root: Path | str, **settings: object) -> ClassificationTask:
    """Return the task of a numbered set, whose images arrive as they are."""
    given = {
        "root": root,
        "image_size": 16,
        "crop_pct": 1.0,
        "mean": (0.0,) * 3,
        "std": (1.0,) * 3,
        "augment": {"crop": "none", "horizontal_flip": 0},
        "workers": 0,
        "in_memory": False,
        **settings,
    }
    return ClassificationTask(ClassificationSettings.model_validate(given))


def numbers_of(batches: Iterator[Any]) -> list[int]:
    """Return the numbers of the pictures in batches."""
    return [round(float(image[0, 0, 0]) * 255) for images, _ in batches for image in images]


def read_epoch(
    open_task: Callable[[], ClassificationTask], ranks: int, stop: int, batch: int = 8
) -> list[int]:
    """Return what all ranks read in an epoch that is stopped once and goes on in new processes."""
    found: list[int] = []
    for first, count in ((0, stop), (stop, None)):
        for rank in range(ranks):
            task = open_task()
            batches = order.train_batches(
                task.train_size, batch, seed=3, epoch=1, groups=task.train_groups
            )[first:]
            shares = [
                part for one in batches for part in order.share(one, rank=rank, processes=ranks)
            ]
            read = task.train_batches(shares, seed=3, epoch=1, device=torch.device("cpu"))
            # those who read ahead had begun with what comes after the stop
            found += numbers_of(islice(read, count))
    return found


class Flaky(MemoryFileSystem):  # type: ignore[misc]
    """A storage in memory whose writes fail, stall, or succeed and seem to fail, by a seed."""

    protocol = "flaky"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    generator: ClassVar[random.Random] = random.Random(0)
    share: ClassVar[float] = 0.0
    """Of writes that do not go well."""
    stall: ClassVar[float] = 0.0
    """Seconds."""
    failed: ClassVar[int] = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        place: str = super()._strip_protocol(path.removeprefix("flaky:/"))
        return place

    @classmethod
    def reset(cls, seed: int, share: float, stall: float = 0.0) -> None:
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]
        cls.generator, cls.share, cls.stall, cls.failed = random.Random(seed), share, stall, 0

    def _trouble(self, work: Callable[[], Any]) -> Any:
        drawn = self.generator.random()
        if drawn >= self.share:
            return work()
        Flaky.failed += 1
        part = drawn / self.share
        if part < 1 / 3:
            raise OSError(5, "the storage is out of order")
        if part < 2 / 3:
            time.sleep(self.stall)
            return work()
        work()
        raise TimeoutError("the answer was lost")

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> Any:
        return self._trouble(lambda: super(Flaky, self).pipe_file(path, value, mode, **kwargs))

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> Any:
        kwargs.pop("callback", None)
        content = Path(lpath).read_bytes()
        return self._trouble(lambda: super(Flaky, self).pipe_file(rpath, content))

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> Any:
        return self._trouble(lambda: super(Flaky, self).cp_file(path1, path2, **kwargs))

    def rm_file(self, path: str) -> Any:
        return self._trouble(lambda: super(Flaky, self).rm_file(path))


fsspec.register_implementation("flaky", Flaky, clobber=True)
