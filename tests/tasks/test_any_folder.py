"""Folders as people have them: no halves, other names, leavings of systems, damage, a table."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lwdna.data import scan as module
from lwdna.data.sources import ImageSource, open_source
from lwdna.errors import DataError
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from tests.tasks.sets import encoded, picture


def opened(root: Path, **settings: object) -> ImageSource:
    return open_source(ClassificationSettings.model_validate({"root": root} | settings))


def names(images: object) -> list[str]:
    return [name.decode() for name in images.names]  # type: ignore[attr-defined]


def fault(root: Path, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        opened(root, **settings)
    return str(caught.value)


@pytest.fixture
def plain(folder: Path) -> Path:
    """Class folders alone: 5, 6 and 7 images."""
    shutil.rmtree(folder / "val")
    for name in ("ant", "bee", "cat"):
        (folder / "train" / name).rename(folder / name)
    (folder / "train").rmdir()
    return folder


def test_a_folder_without_halves_is_split_by_class(plain: Path, tmp_path: Path) -> None:
    source = opened(plain, split=0.3)
    assert source.classes == ("ant", "bee", "cat")
    # 1.5, 1.8 and 2.1 images: a half goes to the even number
    assert np.bincount(source.val.labels).tolist() == [2, 2, 2]
    assert np.bincount(source.train.labels).tolist() == [3, 4, 5]
    assert not {*names(source.train)} & {*names(source.val)}
    assert source.notes[0].endswith("6 of 18 images (data.split=0.3, data.split_seed=0)")
    chosen = names(source.val)
    moved = shutil.copytree(plain, tmp_path / "elsewhere" / "photos")
    assert names(opened(moved, split=0.3, train_limit=1).val) == chosen
    assert names(opened(plain, split=0.3, split_seed=1).val) != chosen
    (plain / "bee" / "0.png").unlink()  # the images of other classes stay where they are
    cats = [name for name in chosen if "cat" in name]
    assert [name for name in names(opened(plain, split=0.3).val) if "cat" in name] == cats


def test_a_class_of_one_image_is_trained_on(plain: Path) -> None:
    for number in range(1, 5):
        (plain / "ant" / f"{number}.png").unlink()
    source = opened(plain)
    assert np.bincount(source.train.labels).tolist() == [1, 5, 6]
    assert np.bincount(source.val.labels, minlength=3).tolist() == [0, 1, 1]
    assert "the class ant has only 1 training image" in source.notes
    picture(0).save(plain / "ant" / "1.png")  # 0.4 of an image, but one in each half
    assert np.bincount(opened(plain).val.labels).tolist() == [1, 1, 1]
    (plain / "ant" / "1.png").unlink()
    shutil.rmtree(plain / "bee")
    shutil.rmtree(plain / "cat")
    assert "no class of two images" in fault(plain)


@pytest.mark.parametrize(
    ("train", "val"), [("training", "valid"), ("Train", "VALIDATION"), ("train", "test")]
)
def test_other_names_of_the_halves(folder: Path, train: str, val: str) -> None:
    before = opened(folder)
    (folder / "train").rename(folder / train)
    (folder / "val").rename(folder / val)
    after = opened(folder)
    assert names(after.train) == names(before.train)
    assert names(after.val) == names(before.val)
    shutil.copytree(folder / val, folder / "testing")
    (note,) = opened(folder).notes
    assert f"left out testing in {folder}: {val} is validated on" in note


def test_a_training_folder_alone_is_split(folder: Path) -> None:
    shutil.rmtree(folder / "val")
    source = opened(folder)
    assert (len(source.train.labels), len(source.val.labels)) == (15, 3)


def test_leavings_are_no_images_and_no_classes(plain: Path) -> None:
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        for place in (plain / name, plain / "bee" / name):
            place.mkdir()
            picture(0).save(place / "0-checkpoint.png")
    for name in (".DS_Store", "Thumbs.db", "._0.png"):
        (plain / "bee" / name).write_bytes(b"not for you")
    (plain / "notes").mkdir()
    (plain / "notes" / "readme.txt").write_text("hello")
    (plain / "bee" / "9.heic").write_bytes(b"ftypheic")
    (plain / "bee" / "round").symlink_to(plain / "bee")
    picture(0).save(plain / "cover.png")
    source = opened(plain)
    assert source.classes == ("ant", "bee", "cat")
    assert len(source.train.labels) + len(source.val.labels) == 18
    assert source.notes[:3] == (
        f"left out the image cover.png in {plain}, outside of class folders",
        f"left out the folder notes in {plain}: no images",
        f"left out pictures below {plain} of kinds that lwdna does not read: 1 .heic",
    )


def test_a_folder_too_high(folder: Path, plain: Path, tmp_path: Path) -> None:
    assert "one class folder only, data, in which there are ant, bee, cat" in fault(plain.parent)
    (plain / "train").mkdir()
    for name in ("ant", "bee"):
        (plain / name).rename(plain / "train" / name)
    assert f"did you mean {folder}?" in fault(plain.parent)


def damage(folder: Path) -> list[Path]:
    """Spoil three files."""
    (folder / "train" / "ant" / "1.png").write_bytes(b"not an image")
    whole = encoded(picture(0, (61, 67)), "JPEG")
    (folder / "train" / "bee" / "8.jpg").write_bytes(whole[:-200])
    (folder / "val" / "cat" / "1.png").write_bytes(b"")
    return [folder / "train/ant/1.png", folder / "train/bee/8.jpg", folder / "val/cat/1.png"]


def test_damaged_files_are_named_at_once_or_left_out(folder: Path) -> None:
    whole = opened(folder)
    assert whole.summary == ("18 images to train on and 6 to validate on, 3 classes, 16x16 pixels")
    paths = damage(folder)
    message = fault(folder)
    assert message.startswith("3 of 25 image files cannot be used: ")
    assert all(str(path) in message for path in paths)
    assert "truncated" in message
    assert message.endswith("leave them out (data.skip_damaged=true)")
    given = {"root": folder, "workers": 0, "image_size": 16, "skip_damaged": True}
    task = ClassificationTask(ClassificationSettings.model_validate(given))
    assert (task.train_size, task.eval_size) == (17, 5)
    assert task.notes[0].startswith("left out 3 of 25 image files, which cannot be decoded")
    assert task.fingerprint().left_out == ("ant/1.png", "bee/8.jpg", "cat/1.png")
    assert "bee/8.jpg" in names(opened(folder, scan=False).train)
    for path in (folder / "val").glob("*/*"):
        path.write_bytes(b"")
    assert "no validation images are left" in fault(folder, skip_damaged=True)


def test_what_is_damaged_moves_no_other_image(plain: Path) -> None:
    before = opened(plain, split=0.4)
    victim = names(before.val)[0]
    (plain / victim).write_bytes(b"")
    after = opened(plain, split=0.4, skip_damaged=True)
    assert names(after.val) == names(before.val)[1:]
    assert names(after.train) == names(before.train)


def test_a_file_is_looked_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    real = module._decoded
    monkeypatch.setattr(module, "_decoded", lambda name: (looked.append(name), real(name))[1])
    monkeypatch.setattr(module, "MIN_SECONDS", 0.0)
    picture(0, (31, 17)).save(folder / "val" / "cat" / "1.png")
    first = opened(folder)
    assert (len(looked), first.sizes) == (24, (16, 16, 31, 17))
    assert opened(folder).sizes == first.sizes
    assert len(looked) == 24
    picture(1, (37, 19)).save(folder / "val" / "cat" / "1.png")
    assert opened(folder).sizes == (16, 16, 37, 19)
    assert looked[24:] == [str(folder / "val" / "cat" / "1.png")]
    os.utime(folder / "train" / "ant" / "0.png", (3, 5))  # of the same size, perhaps another
    assert opened(folder).sizes == (16, 16, 37, 19)
    assert looked[25:] == [str(folder / "train" / "ant" / "0.png")]
    for cache in module.cache_folder().glob("scan-*"):
        cache.write_bytes(b"damaged")
    assert opened(folder).sizes == (16, 16, 37, 19)
    assert len(looked) == 26 + 24


def test_images_of_both_halves_are_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their contents, whatever they are called; also where what was seen is read again."""
    assert not any("too" in note for note in opened(folder).notes)
    for place, (own, other) in enumerate((("bee/1", "cat/0"), ("cat/1", "ant/2"))):
        shutil.copyfile(folder / "train" / f"{own}.png", folder / "val" / f"{other}{place}.png")
    monkeypatch.setattr(module, "MIN_SECONDS", 0.0)
    for _ in range(2):
        (note,) = [note for note in opened(folder).notes if "too" in note]
        assert note.startswith("2 of ")
        assert "(val/ant/21.png is train/cat/1.png, val/cat/00.png is train/bee/1.png)" in note
    assert len(opened(folder, scan=False).notes) == len(opened(folder).notes) - 1


@pytest.fixture
def table(plain: Path) -> Path:
    """All images in one folder, named by class and number, without a table."""
    (plain / "images").mkdir()
    for path in plain.glob("*/*.png"):
        path.rename(plain / "images" / f"{path.parent.name}{path.name}")
    return plain


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("file,label", "images/{0}.png,{1}"),
        ("Label;File Name;size", "{1};images\\{0}.png;3"),
        ("id\tbreed", "{0}\t{1}"),
        (None, "{0}.png,{1}"),
        ("\ufefffilename,class", '"./images/{0}.png"," {1} "'),
    ],
)
def test_tables_of_labels(table: Path, head: str | None, row: str) -> None:
    images = [path.stem for path in sorted((table / "images").iterdir())]
    lines = [row.format(name, int(name[3]) % 2 + 9) for name in images if name != "cat6"]
    (table / "labels.csv").write_text("\n".join([*([head] if head else []), *lines]))
    source = opened(table)
    assert source.kind == "csv"
    assert source.classes == ("9", "10")  # as numbers are ordered
    assert len(source.train.labels) + len(source.val.labels) == 17
    for half in (source.train, source.val):
        assert [int(name[10]) % 2 for name in names(half)] == half.labels.tolist()
    assert (
        source.notes[0] == f"left out 1 of the images below {table} that labels.csv does not name"
    )


def test_a_table_that_says_the_halves(table: Path) -> None:
    rows = ["file,label,split"]
    for path in sorted((table / "images").iterdir()):
        number = int(path.stem[3])
        split = ("Train", "valid", "test")[0 if number < 3 else number % 2 + 1]
        rows.append(f"{path.name},{path.stem[:3]},{split}")
    (table / "labels.csv").write_text("\n".join([*rows, "cat0.png,,", ","]))
    source = opened(table)
    assert np.bincount(source.train.labels).tolist() == [3, 3, 3]
    assert np.bincount(source.val.labels).tolist() == [1, 1, 2]
    assert "left out 1 rows" in source.notes[0]
    assert "whose split is test: valid is used" in source.notes[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n../outside.png,ant", "line 2 .* no path below"),
        ("file,label\n/etc/passwd,ant", "line 2 .* no path below"),
        ("file,label\nC:x.png,ant", "line 2 .* no path below"),
        ("file,label\nant0,ant\nant0.png,bee", "line 3 .* again, with another label"),
        ("file,label,split\nant0,ant,left", "its split is 'left'; known are train"),
        ("file,label,split\nant0,ant,val", "no rows whose split is train"),
        ("picture,what\nant0,ant", "has the columns picture, what; one must be called file"),
        ("file,label\nant0,1\nant1,2\nant2,3", "every row .* has a label of its own"),
        ("file,label\n", "no rows with a file and a label"),
        ("", "has the columns"),
        ("file,label\nant0,ant\nant1,ant\nant7,ant\nant8,ant", "2 of 4 image files cannot be used"),
    ],
)
def test_faulty_tables(table: Path, text: str, message: str) -> None:
    (table / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        opened(table)


def test_names_that_several_images_have(table: Path) -> None:
    (table / "more").mkdir()
    picture(0).save(table / "more" / "ant0.png")
    (table / "labels.csv").write_text("file,label\nant0.png,ant\nbee0,bee")
    assert "several images are called so; give paths" in fault(table)
