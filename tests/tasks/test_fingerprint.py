"""What a run remembers of its data: it is the same wherever they lie, and says what has changed."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lwdna.data import ArrayImages
from lwdna.data import stored as files
from lwdna.data.images import ImageSet, Labels, Positions, stored_of
from lwdna.engine import fingerprint as module
from lwdna.engine.fingerprint import Fingerprint, HalfPrint, KnowsItsData, difference, half_print
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from lwdna.tasks.restoration import RestorationSettings, RestorationTask
from tests.tasks.sets import CLASSES, picture
from tests.tasks.test_shards import write_shards


def seen(root: Path, **settings: object) -> Fingerprint:
    """Return the fingerprint of a data set, as it comes back from a file."""
    given = {"root": root, "image_size": 16, "workers": 0, **settings}
    task = ClassificationTask(ClassificationSettings.model_validate(given))
    assert isinstance(task, KnowsItsData)
    return Fingerprint.model_validate_json(task.fingerprint().model_dump_json())


def rename_class(root: Path) -> None:
    for half in ("train", "val"):
        (root / half / "ant").rename(root / half / "zebra")


def swap_classes(root: Path) -> None:
    """Of ant and bee, whose numbers of training images differ, in both halves."""
    for half in ("train", "val"):
        for one, other in (("ant", "x"), ("bee", "ant"), ("x", "bee")):
            (root / half / one).rename(root / half / other)


def replace_image(root: Path) -> None:
    """By another one of the same name, size and time."""
    path = root / "train" / "bee" / "3.png"
    state = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def grow_image(root: Path) -> None:
    with (root / "val" / "cat" / "1.png").open("ab") as file:
        file.write(b"!")


def rename_image(root: Path) -> None:
    (root / "train" / "cat" / "6.png").rename(root / "train" / "cat" / "7.png")


def add_image(root: Path) -> None:
    picture(99).save(root / "val" / "bee" / "9.png")


def remove_image(root: Path) -> None:
    (root / "val" / "ant" / "0.png").unlink()


CHANGES = {
    rename_class: "the class ant is not there any more and the class zebra was not there",
    swap_classes: (
        "the training images are of other classes (bee/5.png is gone, ant/5.png is new)"
    ),
    replace_image: "the training image bee/3.png has other contents",
    grow_image: "the validation image cat/1.png has other contents",
    rename_image: "where the training image cat/6.png was, there is cat/7.png now",
    add_image: "there were 6 validation images and there are 7 now (bee/9.png is new)",
    remove_image: "there were 6 validation images and there are 5 now (ant/0.png is gone)",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_it_is_said_what_changed_in_a_folder(folder: Path, change: Callable[[Path], None]) -> None:
    before = seen(folder)
    change(folder)
    assert difference(before, seen(folder)) == CHANGES[change]


def test_a_folder_may_be_moved_and_written_in_another_order(folder: Path, tmp_path: Path) -> None:
    before = seen(folder)
    for path in sorted(folder.rglob("*.png"), reverse=True):
        place = tmp_path / "elsewhere" / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
        os.utime(place, (1, 1))
    assert difference(before, seen(tmp_path / "elsewhere")) is None
    shutil.rmtree(folder)


def test_only_what_is_in_use_counts(folder: Path) -> None:
    part = seen(folder, classes=["ant", "cat"], train_limit=2)
    replace_image(folder)
    assert difference(part, seen(folder, classes=["ant", "cat"], train_limit=2)) is None
    assert difference(part, seen(folder, classes=["ant", "cat"], train_limit=3)) == (
        "there were 4 training images and there are 6 now (ant/2.png is new)"
    )


def test_zip_files(folder: Path, zips: Path) -> None:
    before = seen(zips)

    def write(change: Callable[[str, bytes], tuple[str, bytes]], backwards: bool = False) -> None:
        with zipfile.ZipFile(zips / "train.zip") as archive:
            entries = [(name, archive.read(name)) for name in archive.namelist()]
        with zipfile.ZipFile(zips / "train.zip", "w") as archive:
            for name, content in reversed(entries) if backwards else entries:
                archive.writestr(*change(name, content))

    write(lambda name, content: (name, content), backwards=True)
    assert difference(before, seen(zips)) is None
    marked = "train/bee/3.png"
    write(lambda name, content: (name, content[:-1] + b"!" if name == marked else content))
    assert difference(before, seen(zips)) == f"the training image {marked} has other contents"


def test_shards(folder: Path, tmp_path: Path) -> None:
    before = seen(write_shards(folder, tmp_path / "one"))
    assert before.classes is None, "they are numbers"
    shutil.copytree(tmp_path / "one", tmp_path / "moved")
    assert difference(before, seen(tmp_path / "moved")) is None
    (folder / "train" / "ant" / "4.png").rename(folder / "train" / "bee" / "00.png")
    assert difference(before, seen(write_shards(folder, tmp_path / "two"))) == (
        "the training images are of other classes (of the class 0, 5 and 4)"
    )
    (folder / "train" / "bee" / "00.png").rename(folder / "train" / "ant" / "4.png")
    replace_image(folder)  # number 5 + 3
    assert difference(before, seen(write_shards(folder, tmp_path / "three"))) == (
        "the training image n.1/0008.png has other contents"
    )


@pytest.mark.slow
def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def table(name: str, labels: list[int], classes: tuple[str, ...], shift: int = 0) -> Path:
        kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(classes))}
        rows = {"image": [picture(i + shift * (i == 2)) for i in range(4)], "label": labels}
        half = datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))
        root = tmp_path / name
        datasets.DatasetDict({"train": half, "validation": half}).save_to_disk(str(root))
        return root

    before = seen(table("one", [0, 1, 2, 0], CLASSES))
    assert difference(before, seen(table("same", [0, 1, 2, 0], CLASSES))) is None
    assert difference(before, seen(table("labels", [1, 0, 2, 0], CLASSES))) == (
        "the training image number 0 was of the class ant and is of bee now"
    )
    assert difference(before, seen(table("contents", [0, 1, 2, 0], CLASSES, shift=50))) == (
        "the training image number 2 has other contents"
    )
    assert difference(before, seen(table("order", [0, 1, 2, 0], ("bee", "ant", "cat")))) == (
        "class 0 was ant and is bee, the others are the same"
    )


def arrays(count: int = 7) -> ArrayImages:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 5), dtype=np.uint8)
    return ArrayImages("train.npy", pixels, np.arange(count, dtype=np.int64) % 2)


def of(images: ImageSet) -> Fingerprint:
    half = half_print(stored_of(images))
    return Fingerprint(classes=("ant", "bee"), train=half, val=half)


@dataclass(frozen=True)
class Foreign:
    """An image set of somebody's own, that says nothing of how its images lie on disk."""

    pixels: NDArray[np.uint8]
    labels: Labels

    def name(self, index: int) -> str:
        return f"{index}"

    def open(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])

    def fingerprint(self) -> None:
        return None

    def take(self, kept: Positions, labels: Labels) -> Foreign:
        return Foreign(self.pixels[kept], labels)


@pytest.mark.parametrize("foreign", [False, True])
def test_arrays_and_sets_of_ones_own(foreign: bool) -> None:
    given = arrays()

    def now(pixels: NDArray[np.uint8], labels: Labels) -> str | None:
        new = Foreign(pixels, labels) if foreign else ArrayImages("other.npy", pixels, labels)
        old = Foreign(given.pixels, given.labels) if foreign else given
        return difference(of(old), of(new))

    assert now(given.pixels.copy(), given.labels.copy()) is None
    other = given.pixels.copy()
    other[5, 2, 4] ^= 1
    assert now(other, given.labels) == "the training image number 5 has other contents"
    order = np.array([0, 1, 4, 3, 2, 5, 6])
    assert now(given.pixels[order], given.labels[order]) == (
        "the training image number 2 has other contents"
    )
    labels = np.array([1, 0, 0, 1, 0, 1, 0])
    assert now(given.pixels, labels) == (
        "the training image number 0 was of the class ant and is of bee now"
    )
    assert now(given.pixels[:6], given.labels[:6]) == (
        "there were 7 training images and there are 6 now (of the class ant, 4 and 3)"
    )


def test_images_between_those_of_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 7 images, numbers 0, 2 and 4 are looked at; sizes, here checksums, are known of all."""
    given = arrays()

    def seen_of(images: ArrayImages) -> HalfPrint:
        stored = stored_of(images)
        return half_print(module.Stored(stored.labels, stored.content, (), stored.sizes, sample=3))

    before = seen_of(given)
    assert [one.label for one in before.sampled] == [0, 0, 0]
    other = given.pixels.copy()
    other[3] += 1
    after = seen_of(ArrayImages("", other, given.labels))
    whole = [Fingerprint(classes=None, train=half, val=half) for half in (before, after)]
    assert difference(*whole) == (
        "after the training image number 2, an image has another name, size or class"
    )


def test_a_large_set_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, measured = [], []
    for name, calls in (("file_ends", read), ("_size", measured)):
        real = getattr(files, name)
        monkeypatch.setattr(files, name, lambda path, r=real, c=calls: (c.append(path), r(path))[1])
    monkeypatch.setattr(module, "MEASURED", 11)
    paths = [str(path) for path in sorted((folder / "train").glob("*/*.png"))]
    names = [os.fsencode(path) for path in paths]
    stored = files.stored_files(paths.__getitem__, names, np.zeros(18, dtype=np.int64))
    half = half_print(module.Stored(stored.labels, stored.content, names, stored.sizes, sample=5))
    assert sorted(read) == [paths[i] for i in (0, 3, 7, 10, 14)]
    assert len(measured) == 11
    assert len(half.sampled) == 5


def test_beginning_and_end_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "large"
    content = np.random.default_rng(0).bytes(200_000)
    path.write_bytes(content)
    assert files.file_ends(str(path)) == content[:32768] + content[-32768:]
    path.write_bytes(content[:40_000])
    assert files.file_ends(str(path)) == content[:40_000]
    path.write_bytes(b"abc")
    assert files.file_ends(str(path)) == b"abc"
    assert files.file_ends(str(tmp_path / "nowhere")) == b""
    assert files._size(str(tmp_path / "nowhere")) == -1


def test_images_to_restore(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for half, count in (("train", 3), ("val", 2)):
        (root / half / "HR").mkdir(parents=True)
        (root / half / "LR_bicubic" / "X2").mkdir(parents=True)
        for number in range(count):
            picture(number, (40, 36)).save(root / half / "HR" / f"{number}.png")
            small = root / half / "LR_bicubic" / "X2" / f"{number}x2.png"
            picture(number, (20, 18)).save(small)

    def seen_at(place: Path) -> Fingerprint:
        settings = RestorationSettings(root=place, scale=2, patch_size=16)
        task = RestorationTask(settings)
        assert isinstance(task, KnowsItsData)
        return task.fingerprint()

    before = seen_at(root)
    assert before.classes is None
    shutil.copytree(root, tmp_path / "moved")
    assert difference(before, seen_at(tmp_path / "moved")) is None
    picture(9, (20, 18)).save(root / "val" / "LR_bicubic" / "X2" / "1x2.png")
    assert difference(before, seen_at(root)) == (
        "the validation image val/small/1x2.png has other contents"
    )
    picture(9, (40, 36)).save(root / "train" / "HR" / "2.png")
    assert difference(before, seen_at(root)) == "the training image train/2.png has other contents"
    shutil.rmtree(root / "train" / "LR_bicubic")
    assert "(train/small/0x2.png is gone)" in str(difference(before, seen_at(root)))
