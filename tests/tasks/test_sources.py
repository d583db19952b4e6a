"""Every kind of data set is found, read and labelled as its files say."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, ImageFolder

from lwdna.data.settings import resolve
from lwdna.errors import DataError
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from tests.tasks.sets import CLASSES, encoded, eval_all, joined, picture

IDENTITY = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def pixels(task: ClassificationTask) -> np.ndarray:
    """All validation images, uint8, shape (N, H, W, C)."""
    images, _ = joined(eval_all(task))
    return (images * 255).round().byte().permute(0, 2, 3, 1).numpy()


def task_of(root: Path | None, **settings: object) -> ClassificationTask:
    given = {"root": root, "image_size": 16, "crop_pct": 1.0, "workers": 0, **IDENTITY}
    return ClassificationTask(ClassificationSettings.model_validate(given | settings))


def test_folder_reads_what_torchvision_reads(folder: Path) -> None:
    (folder / "val" / "ant" / "notes.txt").write_text("not an image")
    task = task_of(folder)
    reference = ImageFolder(str(folder / "val"))
    assert task.data.kind == "folder"
    assert task.class_names == tuple(reference.classes) == CLASSES
    assert (task.num_classes, task.train_size, task.eval_size) == (3, 18, 6)
    _, labels = joined(eval_all(task))
    assert labels.tolist() == reference.targets
    expected = np.stack([np.asarray(image) for image, _ in reference])
    assert np.array_equal(pixels(task), expected)


def test_test_folder_stands_in_for_val(folder: Path) -> None:
    (folder / "val").rename(folder / "test")
    assert task_of(folder).eval_size == 6


def test_upper_case_jpeg_of_several_modes(folder: Path) -> None:
    for mode in ("L", "CMYK", "RGB"):
        image = picture(50, (24, 18), mode)
        (folder / "val" / "ant" / f"{mode}.JPEG").write_bytes(encoded(image, "JPEG"))
    image = picture(51, (18, 24), "RGB").convert("P")
    (folder / "val" / "bee" / "p.png").write_bytes(encoded(image))
    assert eval_all(task_of(folder), size=10)[0][0].shape == (10, 3, 16, 16)


def tiny_imagenet(folder: Path) -> Path:
    """Rearrange ``folder`` as Tiny-ImageNet is: ``train/<class>/images`` and annotated ``val``."""
    lines = []
    (folder / "val" / "images").mkdir()
    for position, name in enumerate(reversed(CLASSES)):
        inner = folder / "train" / name / "images"
        inner.mkdir()
        for path in (folder / "train" / name).glob("*.png"):
            path.rename(inner / path.name)
        for path in sorted((folder / "val" / name).iterdir()):
            new = f"val_{position}_{path.stem}.JPEG"
            path.rename(folder / "val" / "images" / new)
            lines.append(f"{new}\t{name}\t0\t0\t62\t62\n")
        (folder / "val" / name).rmdir()
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    return folder


def test_tiny_imagenet_with_annotations(folder: Path) -> None:
    expected = [np.asarray(Image.open(path)) for path in sorted((folder / "val/cat").iterdir())]
    task = task_of(tiny_imagenet(folder))
    assert task.data.kind == "tiny-imagenet"
    assert task.class_names == CLASSES
    assert (task.train_size, task.eval_size) == (18, 6)
    _, labels = joined(eval_all(task))
    assert labels.tolist() == [2, 2, 1, 1, 0, 0]
    assert np.array_equal(pixels(task)[:2], expected)


@pytest.mark.parametrize("fields", ["val_0.JPEG", "val_0.JPEG\tdog\t0", "../x.JPEG\tant\t0"])
def test_tiny_imagenet_with_bad_annotations(folder: Path, fields: str) -> None:
    root = tiny_imagenet(folder)
    with (root / "val" / "val_annotations.txt").open("a") as file:
        file.write(fields + "\n")
    with pytest.raises(DataError, match=r"line 7 of .*val_annotations.txt is not .*; restore"):
        task_of(root)


def test_zips_equal_folders(folder: Path, zips: Path) -> None:
    task, reference = task_of(zips), task_of(folder)
    assert task.data.kind == "cifar-zip"
    assert task.class_names == CLASSES
    assert torch.equal(joined(eval_all(task))[1], joined(eval_all(reference))[1])
    assert np.array_equal(pixels(task), pixels(reference))


def test_digits_are_split_by_class_and_scaled() -> None:
    task = task_of(None, kind="digits", image_size=8)
    assert (task.num_classes, task.train_size, task.eval_size) == (10, 1442, 355)
    images, labels = joined(eval_all(task, size=100))
    assert images.shape == (355, 3, 8, 8)
    assert torch.equal(images[:, 0], images[:, 2])
    assert torch.bincount(labels).tolist() == [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]
    from sklearn.datasets import load_digits

    fifth_zero = load_digits().images[load_digits().target == 0][4]
    first_zero = images[labels == 0][0, 0].numpy()
    assert np.abs(first_zero - fifth_zero / 16).max() < 0.5 / 255 + 1e-6


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> np.ndarray:
    """Write a CIFAR of 4 + 2 images in torchvision's format; return the validation pixels."""
    loader = CIFAR10 if kind == "cifar10" else CIFAR100
    key, names = (
        ("labels", "label_names") if kind == "cifar10" else ("fine_labels", "fine_label_names")
    )
    base = root / loader.base_folder
    base.mkdir(parents=True)
    generator = np.random.default_rng(0)

    def store(name: str, count: int) -> tuple[list[list[str]], np.ndarray]:
        data = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
        content = pickle.dumps({"data": data, key: [index % 2 for index in range(count)]})
        (base / name).write_bytes(content)
        return [[name, hashlib.md5(content).hexdigest()]], data

    train, _ = store("some_train", 4)
    test, data = store("some_test", 2)
    content = pickle.dumps({names: ["ant", "bee"]})
    (base / "some_meta").write_bytes(content)
    meta = {"filename": "some_meta", "key": names, "md5": hashlib.md5(content).hexdigest()}
    monkeypatch.setattr(loader, "train_list", train)
    monkeypatch.setattr(loader, "test_list", test)
    monkeypatch.setattr(loader, "meta", meta)
    return data.reshape(2, 3, 32, 32).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
def test_cifar_in_torchvisions_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    expected = write_cifar(tmp_path, monkeypatch, kind)
    task = task_of(tmp_path, image_size=32)
    assert task.data.kind == kind
    assert (task.class_names, task.train_size, task.eval_size) == (("ant", "bee"), 4, 2)
    assert joined(eval_all(task))[1].tolist() == [0, 1]
    assert np.array_equal(pixels(task), expected)


class Trap:
    """Something whose unpickling would leave a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_altered_cifar_is_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, monkeypatch, "cifar10")
    trace = tmp_path / "trace"
    (tmp_path / CIFAR10.base_folder / "some_train").write_bytes(pickle.dumps(Trap(trace)))
    with pytest.raises(DataError, match=r"no intact cifar10 .*unpack a fresh cifar-10-python"):
        task_of(tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize("kind", ["folder", "zips"])
def test_limits_take_the_first_of_each_class(kind: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(kind)
    whole = task_of(root)
    part = task_of(root, classes=("cat", "bee"), train_limit=3, val_limit=1)
    assert part.class_names == ("bee", "cat")
    assert (part.train_size, part.eval_size) == (6, 2)
    assert joined(eval_all(part))[1].tolist() == [0, 1]
    assert np.array_equal(pixels(part), pixels(whole)[[2, 4]])
    assert task_of(root, classes=2).class_names == ("ant", "bee")


@pytest.mark.parametrize(
    ("classes", "message"),
    [(4, "asks for 4 classes, but the data set has 3"), (("bees",), "bees; did you mean bee")],
)
def test_unknown_classes(folder: Path, classes: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        task_of(folder, classes=classes)


def test_grey_input(folder: Path) -> None:
    settings = ClassificationSettings(root=folder, in_chans=1, image_size=16, workers=0)
    task = ClassificationTask(settings)
    assert (task.in_chans, task.data.mean, task.data.std) == (1, (0.449,), (0.226,))
    assert task.example_inputs().shape == (1, 1, 16, 16)
    assert eval_all(task)[0][0].shape == (4, 1, 16, 16)


def test_defaults_of_each_set() -> None:
    folder = resolve(ClassificationSettings(), "folder", 1000)
    assert (folder.image_size, folder.resize, folder.augment.crop) == (224, 256, "random-resized")
    assert folder.mean == (0.485, 0.456, 0.406)
    cifar = resolve(ClassificationSettings(), "cifar-zip", 100)
    assert (cifar.image_size, cifar.resize, cifar.augment.crop) == (32, 32, "pad")
    assert (cifar.augment.padding, cifar.augment.horizontal_flip) == (4, 0.5)
    assert cifar.mean == (0.5071, 0.4865, 0.4409)
    assert resolve(ClassificationSettings(), "cifar-zip", 10).mean == (0.4914, 0.4822, 0.4465)
    digits = resolve(ClassificationSettings(), "digits", 10)
    assert (digits.augment.padding, digits.augment.horizontal_flip) == (1, 0.0)


def test_resolved_settings_are_settings_again(folder: Path) -> None:
    given = ClassificationSettings.model_validate(
        {"root": folder, "augment": {"random_erasing": 0.1, "color_jitter": 0.4}, "resize": 256}
    )
    resolved = ClassificationTask(given).data
    again = ClassificationSettings.model_validate(resolved.model_dump(mode="json"))
    assert ClassificationTask(again).data == resolved
    assert resolved.augment.color_jitter == (0.4, 0.4, 0.4, 0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": (0.5,)}, "mean needs 3 values"),
        ({"std": (1, 0, 1)}, "std must be positive"),
        ({"classes": 0}, "classes must be at least 1"),
        ({"resize": 256, "crop_pct": 0.9}, "give resize or crop_pct, not both"),
        ({"augment": {"scale": (0.5, 0.1)}}, "scale must be two positive numbers"),
        ({"augment": {"scale": (0.5, 1.5)}}, "scale is a fraction"),
        ({"augment": {"color_jitter": -1}}, "color_jitter cannot be negative"),
        ({"in_memory": True, "augment": {"policy": "rand"}}, "cannot go with"),
        ({"imagesize": 3}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassificationSettings.model_validate(settings)


def test_resize_below_the_default_image_size(folder: Path) -> None:
    with pytest.raises(DataError, match=r"data.resize is 100, smaller than the image size 224"):
        ClassificationTask(ClassificationSettings(root=folder, resize=100))


def test_shared_folder(shared_data: Path) -> None:
    root = shared_data / "imagefolder-tinyimagenet20"
    task = task_of(root, kind="tiny-imagenet", image_size=64, val_limit=5, classes=4)
    assert (task.num_classes, task.train_size, task.eval_size) == (4, 800, 20)
    assert task.class_names[0] == "n01443537"
    first = sorted((root / "val" / "n01443537").iterdir())[0]
    assert np.array_equal(pixels(task)[0], np.asarray(Image.open(first).convert("RGB")))


def test_shared_cifar100(shared_data: Path) -> None:
    task = task_of(shared_data / "cifar100", image_size=32, val_limit=2)
    assert (task.num_classes, task.train_size, task.eval_size) == (100, 50_000, 200)
    lines = (shared_data / "cifar100" / "classes.txt").read_text().splitlines()
    names = [line.replace(",", " ").split()[1] for line in lines if line[:1].isdigit()]
    assert list(task.class_names) == names
    assert eval_all(task, size=150)[1][0].shape == (50, 3, 32, 32)


def test_several_data_sets_in_one_folder(folder: Path, zips: Path) -> None:
    shutil.copy(zips / "train.zip", folder)
    with pytest.raises(DataError, match=r"several data sets \(cifar-zip, folder\); say which"):
        task_of(folder)
    assert task_of(folder, kind="folder").eval_size == 6
