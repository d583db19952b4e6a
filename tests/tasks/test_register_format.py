"""A data format from outside: registered by the decorator, found, and used from a recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import lwdna
from lwdna.data import FORMATS, ArrayImages, DataFormat, Defaults, Half, ListedHalf
from lwdna.errors import DataError, RecipeError
from lwdna.recipe import load_recipe
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from lwdna.workflows import run_search, run_training
from tests.tasks.sets import eval_all, joined

NAMES = ("ant", "bee", "cat")


@lwdna.register_format("npy")
class Arrays(DataFormat):
    """NumPy arrays of images and of classes."""

    layout = "train.npy, train-classes.npy, val.npy and val-classes.npy"
    defaults = Defaults(11, 1.0, "none", 0.0, (0.25,) * 3, (0.5,) * 3)

    def detect(self, root: Path) -> bool:
        return (root / "train.npy").is_file()

    def open(self, root: Path) -> tuple[Half, Half]:
        return self._half(root, "train"), self._half(root, "val")

    def _half(self, root: Path, split: str) -> Half:
        try:
            pixels, labels = (np.load(root / f"{split}{end}.npy") for end in ("", "-classes"))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the {split} arrays in {root}: {error}") from error
        return ListedHalf(str(root), NAMES, ArrayImages(f"{root} ({split})", pixels, labels))


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """24 training and 9 validation images of 11x11 pixels, three classes in turn."""
    root = tmp_path / "arrays"
    root.mkdir()
    generator = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 9)):
        pixels = generator.integers(0, 256, (count, 11, 11), dtype=np.uint8)
        np.save(root / f"{split}.npy", pixels)
        np.save(root / f"{split}-classes.npy", np.arange(count) % 3)
    return root


def test_a_recipe_searches_and_trains_on_it(arrays: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "model: {name: lwdna:resnet8_digits}\n"
        f"data: {{root: {arrays}, in_chans: 1}}\n"
        "shrink: {batch_size: 8, batches: 1, width_mult: 1.5, budget: {macs: 1.0}}\n"
        "train: {epochs: 1, batch_size: 8}\n"
    )
    recipe = load_recipe(path)
    assert load_recipe(path, ["data.kind=npy"]).data.kind == "npy"
    found = run_search(recipe, tmp_path / "search")
    assert found.architecture.input_size == (1, 11, 11)
    results = run_training(recipe, tmp_path / "run", architecture=found.architecture)
    assert results["top5"] == 100.0
    assert results["epochs"] == 1


def test_it_is_found_and_read(arrays: Path) -> None:
    task = ClassificationTask(ClassificationSettings(root=arrays, classes=("cat", "bee")))
    assert (task.data.kind, task.class_names) == ("npy", ("bee", "cat"))
    assert (task.train_size, task.eval_size) == (16, 6)
    images, labels = joined(eval_all(task))
    assert labels.tolist() == [0, 1, 0, 1, 0, 1]
    stored = np.load(arrays / "val.npy")[[1, 2, 4, 5, 7, 8]]
    expected = torch.from_numpy((stored / 255 - 0.25) / 0.5).float()
    torch.testing.assert_close(images, expected[:, None].expand(-1, 3, -1, -1))


def test_errors_tell_of_it(arrays: Path, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected train/<class>.*train\.npy, train-classes\.npy"):
        ClassificationTask(ClassificationSettings(root=tmp_path / "empty"))
    with pytest.raises(RecipeError, match=r"no data format 'npyy'; did you mean npy"):
        load_recipe("digits", ["data.kind=npyy"])
    (arrays / "train").mkdir()
    with pytest.raises(DataError, match=r"several data sets \(folder, npy\)"):
        ClassificationTask(ClassificationSettings(root=arrays))


def test_a_more_special_format_goes_first(arrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (arrays / "train").mkdir()
    monkeypatch.setattr(Arrays, "supersedes", ("folder",))
    assert ClassificationTask(ClassificationSettings(root=arrays)).data.kind == "npy"


def test_a_name_is_taken_only_once() -> None:
    class Other(DataFormat):
        """Something else."""

    before = FORMATS["folder"]
    with pytest.raises(ValueError, match=r"already, lwdna\.data\.formats\.folder\.ClassFolders"):
        lwdna.register_format("folder")(Other)
    assert FORMATS["folder"] is before


def test_unknown_formats_are_named_with_the_nearest() -> None:
    for given, hint in (("tiny_imagenet", "tiny-imagenet"), ("autos", "auto"), ("?", "cifar-zip")):
        with pytest.raises(ValidationError, match=f"there is no data format .*{hint}"):
            ClassificationSettings(kind=given)


def test_every_format_says_by_what_it_is_known(tmp_path: Path) -> None:
    for name, known in FORMATS.items():
        assert FORMATS.declarations[name].summary, name
        assert bool(known.layout) == known.needs_root, name
        assert not known.detect(tmp_path), name
        assert set(known.supersedes) <= set(FORMATS), name
