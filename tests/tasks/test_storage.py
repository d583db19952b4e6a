"""Data sets in a storage: what is read is what would be read from a disk."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from lwdna.data import shards
from lwdna.engine import order
from lwdna.engine.fingerprint import difference
from lwdna.errors import DataError, FileError
from lwdna.tasks.restoration.layouts import find_pairs
from lwdna.tasks.restoration.settings import RestorationSettings
from tests.storages import (
    COUNT,
    numbered_folder,
    numbered_shards,
    numbered_task,
    numbers_of,
    read_epoch,
    upload,
)
from tests.tasks.sets import CPU, eval_all, same, train_all
from tests.tasks.test_shards import task_of, write_shards


@pytest.fixture(autouse=True)
def storage() -> Iterator[None]:
    yield
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("numbered")
    folder = numbered_folder(root / "folder")
    return {"folder": folder, "shards": numbered_shards(folder, root / "shards")}


@pytest.mark.parametrize("kind", ["folder", "webdataset"])
def test_a_set_in_a_storage_is_the_set_on_the_disk(folder: Path, tmp_path: Path, kind: str) -> None:
    if kind == "webdataset":
        folder = write_shards(folder, tmp_path / "tars")
    else:
        (folder / "train" / ".ipynb_checkpoints").mkdir()
        (folder / "train" / ".ipynb_checkpoints" / "0.png").write_bytes(b"hidden")
        (folder / "train" / "stray.png").write_bytes(b"outside of the classes")
    url = upload(folder, "memory://bucket/set")
    near, far = task_of(folder), task_of(url)
    assert far.data.kind == kind
    assert far.summary.split(",")[:2] == near.summary.split(",")[:2]
    notes = [note.replace(str(folder), url) for note in near.notes]
    assert [note for note in notes if note] == [note for note in far.notes if note]
    for memory in (False, "auto"):
        one, other = (task_of(root, in_memory=memory) for root in (folder, url))
        assert same(train_all(one, seed=3), train_all(other, seed=3))
        assert same(eval_all(one), eval_all(other))
    assert difference(near.fingerprint(), far.fingerprint()) is None, "it may be moved"


def test_a_change_in_a_storage_is_noticed(folder: Path) -> None:
    url = upload(folder, "memory://bucket/set")
    before = task_of(url).fingerprint()
    files = fsspec.filesystem("memory")
    files.pipe_file("/bucket/set/val/ant/1.png", files.cat("/bucket/set/val/ant/0.png"))
    differs = difference(before, task_of(url).fingerprint())
    assert differs == "the validation image ant/1.png has other contents"


def test_a_set_without_halves_is_divided_as_on_the_disk(folder: Path) -> None:
    flat = folder / "train"
    url = upload(flat, "memory://bucket/flat")
    near, far = task_of(flat), task_of(url)
    assert same(eval_all(near), eval_all(far))
    assert same(train_all(near), train_all(far))


def test_other_formats_are_fetched(folder: Path, tmp_path: Path) -> None:
    rows = [f"{file.relative_to(folder)},{file.parent.name}" for file in folder.glob("train/*/*")]
    (folder / "labels.csv").write_text("\n".join(["file,label", *rows]))
    url = upload(folder, "memory://bucket/table")
    near, far = task_of(folder), task_of(url)
    assert far.data.kind == "csv"
    assert same(eval_all(near), eval_all(far))
    fsspec.filesystem("memory").rm_file("/bucket/table/train/ant/0.png")
    with pytest.raises(DataError, match=r"train/ant/0\.png"):
        task_of(url)
    pairs = find_pairs(
        RestorationSettings(
            root=upload(folder / "train", "memory://b/r"),
            **{"train": ("ant",), "val": ("bee",), "scale": 2},
        )
    )
    assert [len(half) for half in pairs] == [5, 6]


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("kind", ["folder", "shards", "at once"])
def test_every_image_once_per_epoch_also_after_a_stop(
    sets: dict[str, Path], kind: str, ranks: int
) -> None:
    url = upload(sets["folder" if kind == "folder" else "shards"], "memory://bucket/set")
    more = {"shards_at_once": 2} if kind == "at once" else {}
    workers = 2 if ranks == 2 else 0
    read = read_epoch(lambda: numbered_task(url, workers=workers, **more), ranks, stop=2)
    assert sorted(read) == list(range(COUNT))
    near = sets["folder" if kind == "folder" else "shards"]
    assert read == read_epoch(lambda: numbered_task(near, **more), ranks, stop=2)


def test_few_shards_at_a_time_need_little_room(
    sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = upload(sets["shards"], "memory://bucket/set")
    size = max(path.stat().st_size for path in sets["shards"].glob("*.tar"))
    monkeypatch.setenv("LWDNA_CACHE_GB", str(5 * size / 1e9))
    with pytest.raises(DataError, match=r"more than this machine keeps .*shards_at_once"):
        numbered_task(url)
    with pytest.raises(DataError, match=r"lower data\.shards_at_once"):
        numbered_task(url, shards_at_once=2)
    monkeypatch.setenv("LWDNA_CACHE_GB", str((6 * size + 1) / 1e9))
    task = numbered_task(url, shards_at_once=2)
    fetched: list[str] = []
    fetch = shards.fetch_file

    def noted(address: str, path: Path, size: int) -> None:
        fetched.append(address)
        fetch(address, path, size)

    monkeypatch.setattr(shards, "fetch_file", noted)
    batches = order.train_batches(COUNT, 2, seed=0, epoch=0, groups=task.train_groups)
    indices = [batch.tolist() for batch in batches]
    read = numbers_of(task.train_batches(indices, seed=0, epoch=0, device=CPU))
    assert sorted(read) == list(range(COUNT))
    assert sorted(fetched) == sorted(set(fetched)), "a shard is fetched once in an epoch"
    assert len(fetched) == COUNT // 4
    kept = list(Path(shards.cache_folder(), "shards").glob("*.tar"))
    assert sum(path.stat().st_size for path in kept) <= 6 * size
    with pytest.raises(DataError, match="for WebDataset's shards"):
        numbered_task(sets["folder"], shards_at_once=2)


def test_a_shard_that_changes_is_not_taken_from_the_cache(sets: dict[str, Path]) -> None:
    url = upload(sets["shards"], "memory://bucket/set")
    before = numbers_of(numbered_task(url).eval_batches([[0]], device=CPU))
    files = fsspec.filesystem("memory")
    first, second = (files.cat(f"/bucket/set/val-00{n}.tar") for n in (0, 1))
    files.pipe_file("/bucket/set/val-000.tar", second)
    files.pipe_file("/bucket/set/val-001.tar", first)
    after = numbers_of(numbered_task(url).eval_batches([[4]], device=CPU))
    assert before == after


def test_what_cannot_be_read_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="nothing at memory://bucket/none"):
        task_of("memory://bucket/none")
    with pytest.raises(FileError, match="no storage that fsspec knows"):
        task_of("nosuch://bucket/none")
    url = upload(folder, "memory://bucket/set")
    for wish in ({"skip_damaged": True}, {"scan": True}):
        with pytest.raises(DataError, match="not decoded beforehand"):
            task_of(url, **wish)
    task = task_of(url, in_memory=False)
    fsspec.filesystem("memory").rm_file("/bucket/set/val/ant/1.png")
    with pytest.raises(DataError, match=r"memory://bucket/set/val/ant/1\.png"):
        eval_all(task)
    fsspec.filesystem("memory").pipe_file("/bucket/set/val/ant/1.png", b"no image")
    with pytest.raises(DataError, match=r"memory://bucket/set/val/ant/1\.png is damaged"):
        eval_all(task)
    upload(folder / "train" / "ant", "memory://bucket/images")
    with pytest.raises(DataError, match="memory://bucket/images holds no data set"):
        task_of("memory://bucket/images")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(FileError, match=r"pip install 'lwdna\[cloud\]'"):
        task_of("s3://bucket/set")
    shutil.rmtree(folder)


def test_examples_of_few_groups_are_used_at_a_time() -> None:
    numbers = np.repeat(np.arange(10), 30)
    groups = order.Groups(numbers, at_once=3)
    batches = order.train_batches(300, 10, seed=3, epoch=0, groups=groups)
    visited = np.concatenate(batches)
    assert sorted(visited.tolist()) == list(range(300))
    used = [np.flatnonzero(numbers[visited] == group) for group in range(10)]
    spans = [places.max() - places.min() for places in used]
    assert max(spans) < 30 * 5, "each is used within the time of a few"
    assert min(spans) > 30 * 1.5, "and mixed with others"
    first = [int(places.min()) for places in used]
    other = order.train_batches(300, 10, seed=3, epoch=1, groups=groups)
    assert first != [
        int(np.flatnonzero(numbers[np.concatenate(other)] == g).min()) for g in range(10)
    ]
    again = order.train_batches(300, 10, seed=3, epoch=0, groups=groups)
    assert np.array_equal(visited, np.concatenate(again))
