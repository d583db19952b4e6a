"""Batches depend on the seed, the epoch and the examples, and on nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lwdna.data import cache
from lwdna.errors import DataError
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from tests.tasks.sets import CPU, chunks, eval_all, joined, picture, same, train_all

EVERYTHING = {
    "policy": "trivial",
    "color_jitter": (0.4, 0.4, 0.4, 0.1),
    "random_erasing": 0.5,
}
KINDS = {
    "mapped": {"in_memory": False, "augment": EVERYTHING},
    "mapped, pad": {"in_memory": False, "augment": {"crop": "pad", "random_erasing": 0.5}},
    "memory": {"in_memory": True, "augment": {"random_erasing": 0.5}},
    "memory, pad": {"in_memory": True, "augment": {"crop": "pad", "random_erasing": 0.5}},
}


def task_of(root: Path, **settings: object) -> ClassificationTask:
    given = {"root": root, "image_size": 16, "workers": 0}
    return ClassificationTask(ClassificationSettings.model_validate(given | settings))


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def task(request: pytest.FixtureRequest, folder: Path) -> ClassificationTask:
    return task_of(folder, **request.param)


def test_a_batch_has_normalised_images_and_classes(task: ClassificationTask) -> None:
    for images, targets in (train_all(task)[0], eval_all(task)[0]):
        assert (images.shape, images.dtype) == ((4, 3, 16, 16), torch.float32)
        assert (targets.shape, targets.dtype) == ((4,), torch.int64)
        assert images.is_contiguous()


def test_examples_do_not_depend_on_batching_or_order(task: ClassificationTask) -> None:
    images, targets = joined(train_all(task, size=18))
    order = np.random.default_rng(0).permutation(task.train_size).tolist()
    shuffled, labels = joined(train_all(task, size=5, order=order))
    assert torch.equal(labels, targets[order])
    torch.testing.assert_close(shuffled, images[order], atol=1e-5, rtol=0)


def test_examples_change_with_seed_and_epoch(task: ClassificationTask) -> None:
    first = train_all(task, seed=1, epoch=2)
    assert same(first, train_all(task, seed=1, epoch=2))
    assert not same(first, train_all(task, seed=1, epoch=3))
    assert not same(first, train_all(task, seed=2, epoch=2))


def test_global_generators_are_left_alone(task: ClassificationTask) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    train_all(task)
    eval_all(task)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    assert same(train_all(task), train_all(task))


@pytest.mark.parametrize("kind", ["folder", "zips"])
def test_number_of_workers_changes_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(kind)
    alone = task_of(root, **KINDS["mapped"])
    helped = task_of(root, **KINDS["mapped"] | {"workers": 2})
    for epoch in range(2):
        assert same(train_all(alone, epoch=epoch), train_all(helped, epoch=epoch))
    assert same(eval_all(alone), eval_all(helped))


def test_readers_that_stop_early_or_overlap(folder: Path) -> None:
    task = task_of(folder, **KINDS["mapped"] | {"workers": 2})
    expected = train_all(task)
    batches = chunks(range(task.train_size), 4)
    first = task.train_batches(batches, seed=0, epoch=0, device=CPU)
    started = [next(first)]
    other = task.train_batches(batches, seed=9, epoch=9, device=CPU)
    started_other = next(other)
    assert same([*started, *first], expected)
    other.close()  # type: ignore[attr-defined]
    assert same([started_other], train_all(task, seed=9, epoch=9)[:1])
    stopped = task.train_batches(batches, seed=9, epoch=9, device=CPU)
    next(stopped)
    stopped.close()  # type: ignore[attr-defined]
    assert same(train_all(task), expected)


def test_memory_and_files_give_the_same_validation(folder: Path) -> None:
    settings = {"image_size": 12, "crop_pct": 0.8, "interpolation": "bicubic"}
    mapped = task_of(folder, in_memory=False, **settings)
    memory = task_of(folder, in_memory=True, **settings)
    assert same(eval_all(mapped), eval_all(memory))


@pytest.mark.parametrize("crop", ["pad", "none"])
def test_memory_and_files_train_alike(folder: Path, crop: str) -> None:
    settings = {"image_size": 12, "augment": {"crop": crop, "random_erasing": 0.5}}
    mapped = task_of(folder, in_memory=False, **settings)
    memory = task_of(folder, in_memory=True, **settings)
    assert same(train_all(mapped), train_all(memory))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_memory_and_files_crop_alike(folder: Path, interpolation: str) -> None:
    """Up to rounding: Pillow rounds to whole grey levels after rows and after columns."""
    settings = {"image_size": 12, "interpolation": interpolation, "std": (1 / 255,) * 3}
    mapped, targets = joined(train_all(task_of(folder, in_memory=False, **settings)))
    memory, labels = joined(train_all(task_of(folder, in_memory=True, **settings)))
    assert torch.equal(targets, labels)
    assert (mapped - memory).abs().max() < 2


def test_auto_falls_back_to_files(folder: Path) -> None:
    picture(0, (17, 16)).save(folder / "train" / "cat" / "9.png")
    mixed = task_of(folder, in_memory="auto")
    assert same(train_all(mixed), train_all(task_of(folder, in_memory=False)))


def test_auto_holds_small_images_in_memory(folder: Path) -> None:
    small, large = task_of(folder), task_of(folder, image_size=128)
    for task in (small, large):
        eval_all(task)
    for path in folder.glob("val/*/*.png"):
        path.unlink()
    assert len(eval_all(small)) == 2
    with pytest.raises(DataError, match="cannot read the image"):
        eval_all(large)


def spoil(folder: Path) -> None:
    """Damage all validation images, leaving their sizes and times."""
    for path in folder.glob("val/*/*.png"):
        state = path.stat()
        path.write_bytes(bytes(state.st_size))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_decoded_images_are_cached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MIN_SECONDS", 0.0)
    expected = eval_all(task_of(folder, in_memory=True, scan=False))
    spoil(folder)
    assert same(eval_all(task_of(folder, in_memory=True, scan=False)), expected)
    with pytest.raises(DataError, match="damaged"):  # made in another way: not the cached array
        eval_all(task_of(folder, in_memory=True, scan=False, image_size=12))
    path = next(iter(folder.glob("val/*/*.png")))
    os.utime(path)
    with pytest.raises(DataError, match="damaged"):
        eval_all(task_of(folder, in_memory=True, scan=False))


@pytest.mark.parametrize("damage", ["cut", "bit", "other"])
def test_damaged_cache_is_ignored(
    folder: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(cache, "MIN_SECONDS", 0.0)
    expected = eval_all(task_of(folder, in_memory=True))
    (path,) = (Path(os.environ["XDG_CACHE_HOME"]) / "lwdna").iterdir()
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[-7] ^= 1
    path.write_bytes({"cut": content[:-9], "bit": content, "other": b"nonsense"}[damage])
    assert same(eval_all(task_of(folder, in_memory=True)), expected)


def test_cache_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MIN_SECONDS", 0.0)
    (Path(os.environ["XDG_CACHE_HOME"]) / "lwdna").write_text("a file, not a folder")
    assert len(eval_all(task_of(folder, in_memory=True))) == 2


MIXES = [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1}]


@pytest.mark.parametrize("mix", MIXES)
def test_mixing_follows_from_seed_epoch_and_examples(folder: Path, mix: dict[str, float]) -> None:
    task = task_of(folder, **mix)
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]  # noqa: NPY002
    first = train_all(task, seed=1, epoch=2)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index, union-attr]  # noqa: NPY002
    assert same(first, train_all(task, seed=1, epoch=2))
    assert not same(first, train_all(task, seed=1, epoch=3))
    # what a resumed run sees
    assert same(first[2:], train_all(task, seed=1, epoch=2, order=range(8, 18)))


@pytest.mark.parametrize("mix", MIXES)
def test_mixed_targets_fit_the_mixed_images(folder: Path, mix: dict[str, float]) -> None:
    plain = train_all(task_of(folder, train_limit=5), size=5)
    mixed = train_all(task_of(folder, train_limit=5, **mix), size=5)
    smoothing = mix.get("label_smoothing", 0.0)
    shares = set()
    for (images, classes), (blend, targets) in zip(plain, mixed, strict=True):
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(5))
        hot = torch.nn.functional.one_hot(classes, 3) * (1 - smoothing) + smoothing / 3
        assert torch.equal(blend[4], images[4])
        torch.testing.assert_close(targets[4], hot[4])
        assert not torch.equal(blend[:4], images[:4])
        partner = images[:4].flip(0)
        share = ((blend[:4] - partner) * (images[:4] - partner)).sum() / (
            (images[:4] - partner) ** 2
        ).sum()
        shares.add(round(float(share), 4))
        if "cutmix" not in mix:
            expected = hot[:4] * share + hot[:4].flip(0) * (1 - share)
            torch.testing.assert_close(targets[:4], expected, atol=1e-4, rtol=0)
            torch.testing.assert_close(
                blend[:4], images[:4] * share + partner * (1 - share), atol=1e-4, rtol=0
            )
    assert len(shares) > 1  # every batch draws its own


def test_a_batch_of_one_is_not_mixed(folder: Path) -> None:
    plain = joined(train_all(task_of(folder), size=1))
    mixed = joined(train_all(task_of(folder, mixup=1.0), size=1))
    assert torch.equal(plain[0], mixed[0])
    assert torch.equal(plain[1], mixed[1].argmax(dim=1))


@pytest.mark.gpu
def test_a_gpu_sees_what_a_cpu_sees(task: ClassificationTask) -> None:
    batches = chunks(range(task.train_size), 4)
    device = torch.device("cuda", 0)
    on_gpu = list(task.train_batches(batches, seed=0, epoch=0, device=device))
    for (images, targets), (expected, classes) in zip(on_gpu, train_all(task), strict=True):
        assert images.device == targets.device == device
        torch.testing.assert_close(images.cpu(), expected, atol=1e-2, rtol=0)
        assert torch.equal(targets.cpu(), classes)
