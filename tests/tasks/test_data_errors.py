"""Faulty data: one line each, naming the culprit and saying what to do."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lwdna.errors import DataError
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from tests.tasks.sets import CLASSES, encoded, eval_all, joined, picture, train_all


def use(settings: ClassificationSettings, read: str) -> None:
    task = ClassificationTask(settings)
    if read:
        (train_all if read == "train" else eval_all)(task)


def failure(work: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        work()
    message = str(caught.value)
    # no cycle through the traceback: readers found as garbage take seconds to end their processes
    del caught
    return message


def fault(root: Path | None, read: str = "", **settings: object) -> str:
    """Return the message of the one error that using the data raises."""
    given = {"root": root, "image_size": 16, "workers": 0} | settings
    message = failure(lambda: use(ClassificationSettings.model_validate(given), read))
    assert "\n" not in message
    assert "Traceback" not in message
    return message


def test_no_root() -> None:
    assert re.search(r"data.root is missing; give the folder .* digits", fault(None))


def test_missing_folder(tmp_path: Path) -> None:
    message = fault(tmp_path / "nowhere")
    assert f"there is no data folder {tmp_path / 'nowhere'}" in message
    assert "train/<class>/<image> and val/<class>/<image>" in message


def test_unknown_layout(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    assert "holds no data set that lwdna knows; expected train/<class>" in fault(tmp_path)


def test_missing_training_folder(folder: Path) -> None:
    shutil.rmtree(folder / "train")
    assert "has a folder val, but no folder train; expected" in fault(folder)


def test_images_without_class_folders(folder: Path) -> None:
    shutil.rmtree(folder / "train")
    (folder / "train").mkdir()
    picture(0).save(folder / "train" / "0.png")
    assert "train has no class folders; expected train/<class>/<image>" in fault(folder)


def empty(folder: Path) -> None:
    """Leave a class folder without images."""
    for path in folder.iterdir():
        path.rename(path.with_suffix(".txt"))


def test_a_class_to_learn_without_images(folder: Path) -> None:
    empty(folder / "train" / "bee")
    message = fault(folder)
    assert f"the class folder {folder / 'train' / 'bee'} has no images; add images" in message
    use(
        ClassificationSettings(root=folder, image_size=16, workers=0, classes=("ant", "cat")), "val"
    )
    shutil.rmtree(folder / "train" / "bee")
    (note,) = ClassificationTask(ClassificationSettings(root=folder, workers=0)).notes
    assert f"left out 2 validation images in {folder / 'val'} of bee, which" in note
    shutil.rmtree(folder / "val" / "bee")
    use(ClassificationSettings(root=folder, image_size=16, workers=0), "val")


@pytest.mark.parametrize("change", [empty, shutil.rmtree])
@pytest.mark.parametrize("missing", [("bee",), ("ant",), ("ant", "cat")])
def test_a_class_without_validation_images_is_learnt(
    folder: Path, change: Callable[[Path], None], missing: tuple[str, ...]
) -> None:
    whole = ClassificationTask(ClassificationSettings(root=folder, image_size=16, workers=0))
    expected, classes = joined(eval_all(whole))
    for name in missing:
        change(folder / "val" / name)
    task = ClassificationTask(ClassificationSettings(root=folder, image_size=16, workers=0))
    assert task.class_names == CLASSES
    numbers = [CLASSES.index(name) for name in missing]
    kept = ~torch.isin(classes, torch.tensor(numbers))
    images, labels = joined(eval_all(task))
    assert torch.equal(labels, classes[kept])
    assert torch.equal(images, expected[kept])
    (note,) = task.notes
    assert note.startswith(f"of 3 classes {missing[0]} {'has' if len(missing) == 1 else 'and 1'}")
    assert not whole.notes


def test_a_class_of_validation_images_only(folder: Path) -> None:
    (folder / "val" / "cat").rename(folder / "val" / "dog")
    task = ClassificationTask(ClassificationSettings(root=folder, image_size=16, workers=0))
    stranger, missing = task.notes
    assert stranger == (
        f"left out 2 validation images in {folder / 'val'} of dog, which {folder / 'train'} lacks, "
        "so that nothing can learn it"
    )
    assert "cat has no validation images" in missing
    assert joined(eval_all(task))[1].tolist() == [0, 0, 1, 1]
    settings = ClassificationSettings(root=folder, image_size=16, workers=0, classes=CLASSES)
    task = ClassificationTask(settings)
    assert joined(eval_all(task))[1].tolist() == [0, 0, 1, 1]
    (folder / "val" / "dog").rename(folder / "val" / "zebra")
    empty(folder / "val" / "zebra")  # nothing to be measured by mistake
    use(ClassificationSettings(root=folder, image_size=16, workers=0), "val")


def test_no_validation_images_at_all(folder: Path) -> None:
    for name in CLASSES:
        empty(folder / "val" / name)
    assert f"the validation set in {folder / 'val'} has no images of the" in fault(folder)
    (folder / "val" / "ant" / "0.txt").rename(folder / "val" / "ant" / "0.png")
    assert "has no images of the classes in use" in fault(folder, classes=["bee"])


def test_hidden_folders_are_no_classes(folder: Path) -> None:
    for half in ("train", "val"):
        (folder / half / ".ipynb_checkpoints").mkdir()
    task = ClassificationTask(ClassificationSettings(root=folder, image_size=16, workers=0))
    assert task.class_names == CLASSES


def test_classes_of_archives_go_by_name(zips: Path, tmp_path: Path) -> None:
    """A test.zip without the first class: its own numbers would be one too small."""
    whole = ClassificationTask(ClassificationSettings(root=zips, image_size=16, workers=0))
    with zipfile.ZipFile(zips / "test.zip") as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if "/ant/" not in name}
    with zipfile.ZipFile(zips / "test.zip", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    task = ClassificationTask(ClassificationSettings(root=zips, image_size=16, workers=0))
    assert task.num_classes == whole.num_classes == 3
    assert joined(eval_all(task))[1].tolist() == [1, 1, 2, 2]
    for name, content in entries.items():
        if "/cat/" in name:
            with zipfile.ZipFile(zips / "test.zip", "a") as archive:
                archive.writestr(name.replace("/cat/", "/dog/"), content)
    task = ClassificationTask(ClassificationSettings(root=zips, image_size=16, workers=0))
    assert f"{zips / 'test.zip'} of dog, which {zips / 'train.zip'} lacks" in task.notes[0]


@pytest.mark.parametrize(("workers", "in_memory"), [(0, True), (0, False), (1, False)])
@pytest.mark.parametrize("half", ["train", "val"])
def test_truncated_image(folder: Path, workers: int, in_memory: bool, half: str) -> None:
    path = folder / half / "bee" / "1.jpg"
    path.write_bytes(encoded(picture(0, (64, 64)), "JPEG")[:-200])
    augment = {"crop": "pad"}
    given = {"workers": workers, "in_memory": in_memory, "augment": augment}
    message = fault(folder, half, scan=False, **given)
    assert message.startswith(f"the image {path} is damaged or is not an image (")
    assert message.endswith("; restore it or remove it from the data set")


@pytest.mark.parametrize(
    "content", [b"", b"not an image at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 50]
)
def test_something_else_named_as_image(folder: Path, content: bytes) -> None:
    path = folder / "train" / "ant" / "9.png"
    path.write_bytes(content)
    assert f"the image {path} is damaged or is not an image" in fault(folder, "train", scan=False)


def test_formats_that_run_programs_are_not_opened(folder: Path) -> None:
    path = folder / "train" / "ant" / "9.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n")
    assert "no known image format" in fault(folder)


@pytest.mark.parametrize("workers", [0, 1])
def test_image_that_vanished(folder: Path, workers: int) -> None:
    task = ClassificationTask(ClassificationSettings(root=folder, workers=workers, in_memory=False))
    path = folder / "val" / "cat" / "0.png"
    path.unlink()
    message = failure(lambda: eval_all(task))
    assert message.startswith(f"cannot read the image {path}: No such file")
    assert "\n" not in message


def test_sizes_that_cannot_share_memory(folder: Path) -> None:
    path = folder / "train" / "cat" / "9.png"
    picture(0, (17, 16)).save(path)
    message = fault(folder, "train", in_memory=True)
    assert f"{path} has 17x16 pixels, but" in message
    assert "set data.in_memory to auto" in message


def test_a_reader_survives_a_damaged_image(folder: Path) -> None:
    path = folder / "train" / "ant" / "9.png"
    path.write_bytes(b"")
    task = ClassificationTask(
        ClassificationSettings(root=folder, image_size=16, workers=1, in_memory=False, scan=False)
    )
    assert "9.png" in failure(lambda: train_all(task))
    picture(0).save(path)
    assert sum(len(images) for images, _ in train_all(task)) == 19


@pytest.mark.parametrize("missing", ["train", "test"])
def test_one_zip_of_two(zips: Path, missing: str) -> None:
    (zips / f"{missing}.zip").unlink()
    assert f"has no {missing}.zip; expected" in fault(zips, kind="cifar-zip")


def test_not_a_zip(zips: Path) -> None:
    (zips / "test.zip").write_bytes(b"PK\3\4 and then nothing")
    assert "test.zip is not a readable zip file" in fault(zips)


def test_empty_zip(zips: Path) -> None:
    with zipfile.ZipFile(zips / "test.zip", "w"):
        pass
    assert "test.zip has no images; expected entries test/<class>/<image>" in fault(zips)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../train/ant/x.png", "unsafe name"),
        ("train/../x.png", "unsafe name"),
        ("/train/ant/x.png", "unsafe name"),
        ("train/ant//x.png", "unsafe name"),
        ("train\\ant\\x.png", "unsafe name"),
        ("train/ant/x\0.png", "unsafe name"),
        ("train/x.png", "expected train/<class>/<image>"),
        ("test/ant/x.png", "expected train/<class>/<image>"),
        ("train/ant/deep/x.png", "expected train/<class>/<image>"),
        ("train/ant/readme.txt", "which is not an image"),
    ],
)
def test_entries_that_do_not_belong(zips: Path, name: str, message: str) -> None:
    entry = zipfile.ZipInfo("placeholder")
    entry.filename = entry.orig_filename = name  # the constructor would clean the name
    with zipfile.ZipFile(zips / "train.zip", "a") as archive:
        archive.writestr(entry, encoded(picture(0)))
    assert message in fault(zips)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entry_twice(zips: Path) -> None:
    with zipfile.ZipFile(zips / "train.zip", "a") as archive:
        archive.writestr("train/ant/0.png", encoded(picture(0)))
    assert "holds the entry train/ant/0.png twice" in fault(zips)


def test_entry_that_unpacks_to_far_too_much(zips: Path) -> None:
    with zipfile.ZipFile(zips / "train.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/ant/x.png", bytes(2**26 + 1))
    assert "train/ant/x.png" in fault(zips)
    assert "more than an image may have" in fault(zips)


def test_damaged_entry(zips: Path) -> None:
    path = zips / "train.zip"
    content = bytearray(path.read_bytes())
    content[200:204] = b"\0\1\2\3"
    path.write_bytes(content)
    assert f"the image {path}:train/ant/0.png is damaged" in fault(zips, "train")
