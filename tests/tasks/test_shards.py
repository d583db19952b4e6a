"""ImageNet's other containers: WebDataset's tar files, and local files of Hugging Face datasets."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lwdna.data.formats import webdataset as shards
from lwdna.errors import DataError
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from tests.tasks.sets import CLASSES, eval_all, joined, picture, same, train_all


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def write_shards(folder: Path, root: Path) -> Path:
    """Write the images of a class folder as tar files of four samples each."""
    root.mkdir()
    for split in ("train", "val"):
        files = sorted((folder / split).glob("*/*.png"))
        for start in range(0, len(files), 4):
            with tarfile.open(root / f"set-{split}-{start // 4:06d}.tar", "w") as archive:
                for number, file in enumerate(files[start : start + 4], start):
                    label = str(CLASSES.index(file.parent.name)).encode()
                    # WebDataset does not say which of the two comes first
                    add(archive, f"n.1/{number:04d}.cls", label + b"\n")
                    add(archive, f"n.1/{number:04d}.png", file.read_bytes())
    return root


def task_of(root: Path, **settings: object) -> ClassificationTask:
    given = {"root": root, "image_size": 16, "workers": 0, **settings}
    return ClassificationTask(ClassificationSettings.model_validate(given))


@pytest.fixture
def tars(folder: Path, tmp_path: Path) -> Path:
    return write_shards(folder, tmp_path / "tars")


@pytest.mark.parametrize("in_memory", [False, "auto"])
def test_shards_hold_what_the_folder_held(folder: Path, tars: Path, in_memory: object) -> None:
    plain, sharded = (task_of(root, in_memory=in_memory) for root in (folder, tars))
    assert sharded.data.kind == "webdataset"
    assert sharded.num_classes == 3
    assert same(eval_all(sharded), eval_all(plain))
    assert same(train_all(sharded, seed=3), train_all(plain, seed=3))
    backwards = list(range(sharded.train_size))[::-1]
    assert same(train_all(sharded, order=backwards), train_all(plain, order=backwards))


def test_classes_and_limits_choose_images_in_shards(tars: Path) -> None:
    task = task_of(tars, classes=["0", "2"], train_limit=2)
    assert (task.class_names, task.train_size, task.eval_size) == (("0", "2"), 4, 4)
    _, labels = joined(eval_all(task))
    assert labels.tolist() == [0, 0, 1, 1]


def test_workers_read_shards(tars: Path) -> None:
    kinds = [task_of(tars, in_memory=False, workers=workers) for workers in (0, 2)]
    assert same(*map(eval_all, kinds))


def test_a_long_list_is_remembered(
    tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shards, "_MANY", 1)
    first = shards.list_shards(shards.find_shards(tars, "train"))
    monkeypatch.setattr(shards, "_list_shard", None)
    again = shards.list_shards(shards.find_shards(tars, "train"))
    assert [again.name(i) for i in range(18)] == [first.name(i) for i in range(18)]
    assert again.fingerprint() == first.fingerprint()
    assert np.array_equal(again.labels, first.labels)
    assert np.array_equal(np.asarray(again.open(17)), np.asarray(first.open(17)))
    shard = tars / "set-train-000000.tar"
    shard.write_bytes(shard.read_bytes() + b"\0")
    with pytest.raises(TypeError):  # another file is listed again
        shards.list_shards(shards.find_shards(tars, "train"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("../a.png", b"", "no plain file under a safe name"),
        ("/a.png", b"", "no plain file under a safe name"),
        ("a.png", b"x", "has no class"),
        ("a.cls", b"ant", "instead of a class's number"),
        ("n.1/0000.png", b"", "two images of the name n.1/0000"),
    ],
)
def test_bad_entries(tars: Path, name: str, content: bytes, message: str) -> None:
    with tarfile.open(tars / "set-train-000000.tar", "a") as archive:
        add(archive, name, content)
    with pytest.raises(DataError, match=message) as caught:
        task_of(tars)
    assert "set-train-000000.tar" in str(caught.value)


def test_links_are_refused(tars: Path) -> None:
    with tarfile.open(tars / "set-train-000000.tar", "a") as archive:
        entry = tarfile.TarInfo("a.png")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(DataError, match="no plain file"):
        task_of(tars)


def test_compressed_and_broken_shards(tars: Path) -> None:
    shard = tars / "set-val-000000.tar"
    with tarfile.open(shard, "w:gz") as archive:
        add(archive, "a.cls", b"0")
    with pytest.raises(DataError, match="uncompressed tar"):
        task_of(tars)
    shard.write_bytes(b"no tar at all" * 100)
    with pytest.raises(DataError, match="fetch or make it again"):
        task_of(tars)
    for path in tars.glob("*-val-*"):
        path.unlink()
    with pytest.raises(DataError, match="no val shards"):
        task_of(tars)


def test_a_number_of_validation_images_only(folder: Path, tars: Path) -> None:
    with tarfile.open(tars / "set-val-000001.tar", "a") as archive:
        add(archive, "new.png", (folder / "val" / "ant" / "0.png").read_bytes())
        add(archive, "new.cls", b"3")
    with pytest.raises(DataError, match="the class 3 has validation images, but no training"):
        task_of(tars)
    task = task_of(tars, classes=["0", "2"])
    assert joined(eval_all(task))[1].tolist() == [0, 0, 1, 1]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same six pictures as saved data set and as Parquet, in colour and with class names."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "note": datasets.Value("string"),
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=list(CLASSES)),
        }
    )
    halves = {}
    for split, start in (("train", 0), ("validation", 6)):
        rows = {
            "note": ["x"] * 6,
            "image": [picture(start + i, (20, 18)) for i in range(6)],
            "label": [0, 1, 2, 2, 1, 0],
        }
        halves[split] = datasets.Dataset.from_dict(rows, features=features)
    root = tmp_path_factory.mktemp("tables")
    datasets.DatasetDict(halves).save_to_disk(str(root / "saved"))
    (root / "parquet" / "data").mkdir(parents=True)
    for split, half in halves.items():
        half.to_parquet(str(root / "parquet" / "data" / f"{split}-00000-of-00001.parquet"))
    return {"saved": root / "saved", "parquet": root / "parquet"}


@pytest.mark.parametrize("form", ["saved", "parquet"])
def test_tables_hold_pictures_and_classes(
    tables: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    identity = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    task = task_of(tables[form], image_size=18, crop_pct=1.0, in_memory=False, **identity)
    assert (task.data.kind, task.class_names) == ("arrow", CLASSES)
    images, labels = joined(eval_all(task))
    assert labels.tolist() == [0, 1, 2, 2, 1, 0]
    expected = torch.from_numpy(np.asarray(picture(6, (20, 18)))[:, 1:19].copy())
    assert torch.equal((images[0] * 255).round().byte().permute(1, 2, 0), expected)
    one = task_of(tables[form], image_size=18, classes=["bee"], in_memory=False)
    assert (one.train_size, one.class_names) == (2, ("bee",))
    pickle.dumps(one._images._train._images)  # workers started by spawn receive it
    workers = task_of(
        tables[form], image_size=18, crop_pct=1.0, in_memory=False, workers=1, **identity
    )
    assert same(eval_all(workers), eval_all(task))


def test_tables_without_what_is_needed(tables: dict[str, Path], tmp_path: Path) -> None:
    import datasets

    root = tmp_path / "plain"
    table = datasets.Dataset.from_dict({"text": ["a"], "label": [1]})
    datasets.DatasetDict({"train": table}).save_to_disk(str(root))
    with pytest.raises(DataError, match="text, label; expected one of images"):
        task_of(root)
    saved = datasets.load_from_disk(str(tables["saved"]))
    datasets.DatasetDict({"train": saved["train"]}).save_to_disk(str(tmp_path / "half"))
    with pytest.raises(DataError, match="no split validation or val"):
        task_of(tmp_path / "half")


def test_classes_of_tables_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two halves that number the same classes otherwise, and one of which lacks a class."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    halves = {}
    for split, names in (("train", CLASSES), ("validation", ("cat", "ant"))):
        features = datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))}
        )
        labels = list(range(len(names)))
        rows = {"image": [picture(i, (20, 18)) for i in labels], "label": labels}
        halves[split] = datasets.Dataset.from_dict(rows, features=features)
    root = tmp_path / "set"
    for split, half in halves.items():
        half.to_parquet(str(root / f"{split}.parquet"))
    task = task_of(root, in_memory=False)
    assert task.class_names == CLASSES
    assert joined(eval_all(task))[1].tolist() == [2, 0]
