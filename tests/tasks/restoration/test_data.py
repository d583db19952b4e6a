"""Images in all layouts; patches that follow from seed, epoch and index; faults that are named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lwdna.errors import DataError, FileError
from lwdna.tasks.restoration import RestorationSettings

from .sets import CPU, blocks, noise_image, patches, save_all, task_of


@pytest.mark.parametrize("layout", ["div2k", "benchmark"])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("in_memory", [True, False])
def test_inputs_and_targets_show_the_same_place(
    tmp_path: Path, layout: str, scale: int, in_memory: bool
) -> None:
    root = blocks(tmp_path, scale, layout)
    task = task_of(root, scale=scale, patch_size=13 * scale, patches=97, in_memory=in_memory)
    given, targets = patches(task, list(range(97)))
    assert given.shape == (97, 3, 13, 13)
    assert torch.equal(given.repeat_interleave(scale, 2).repeat_interleave(scale, 3), targets)
    assert len({tuple(patch.flatten().tolist()) for patch in given}) > 90
    (examples,) = task.eval_batches([[0, 1, 2]], device=CPU)
    for example, (width, height) in zip(examples, ((31, 23), (17, 37), (29, 19)), strict=True):
        assert example.given.shape == (1, 3, height, width)
        wide = example.given.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        assert torch.equal(wide, example.target)
    folder = "DIV2K_valid_HR" if layout == "div2k" else "val"
    assert [example.name for example in examples] == [f"{folder}/{name}" for name in "abc"]


def test_a_folder_of_images_gets_small_ones_on_the_fly(tmp_path: Path) -> None:
    """Sizes that are no multiple of the scale are cut at the right and below."""
    for half in ("train", "val"):
        save_all(tmp_path / half, {"x.png": Image.new("RGB", (47, 38), (10, 20, 30))})
    task = task_of(tmp_path, scale=3, patch_size=36, patches=5)
    ((example,),) = task.eval_batches([[0]], device=CPU)
    assert example.target.shape == (1, 3, 36, 45)
    assert example.given.shape == (1, 3, 12, 15)
    colour = torch.tensor([10, 20, 30]) / 255
    assert torch.equal(example.given, colour.reshape(1, 3, 1, 1).expand(1, 3, 12, 15))


def test_small_images_rounded_up_are_accepted(tmp_path: Path) -> None:
    """MATLAB makes ceil(37 / 2) pixels of 37."""
    for half in ("train", "val"):
        save_all(tmp_path / half / "HR", {"x.png": noise_image(0, 37, 40)})
        save_all(tmp_path / half / "LR_bicubic" / "X2", {"xx2.png": noise_image(1, 19, 20)})
    task = task_of(tmp_path, scale=2, patch_size=16, patches=3)
    ((example,),) = task.eval_batches([[0]], device=CPU)
    assert example.target.shape == (1, 3, 40, 36)
    assert example.given.shape == (1, 3, 20, 18)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for half, start in (("train", 0), ("val", 10)):
        images = {f"{i}.png": noise_image(start + i, 41 + i, 33) for i in range(3)}
        save_all(tmp_path / half, images)
    return tmp_path


@pytest.mark.parametrize("what", [{"scale": 2}, {"noise": 25.0, "in_chans": 1}])
def test_a_patch_follows_from_seed_epoch_and_index(folder: Path, what: dict[str, float]) -> None:
    task = task_of(folder, patch_size=16, patches=29, **what)
    together = patches(task, list(range(29)), seed=5, epoch=3)
    for again in (task, task_of(folder, patch_size=16, patches=29, in_memory=False, **what)):
        alone = patches(again, [23, 7], seed=5, epoch=3)
        for one, two in zip(together, alone, strict=True):
            assert torch.equal(one[[23, 7]], two)
    for seed, epoch in ((5, 4), (6, 3)):
        other = patches(task, list(range(29)), seed=seed, epoch=epoch)
        same = (together[1] == other[1]).flatten(1).all(1)
        assert same.float().mean() < 0.2


def test_patches_come_from_all_images_all_places_and_eight_symmetries(tmp_path: Path) -> None:
    """A ramp along each axis tells where a patch was and how it was turned."""
    rows, columns = np.mgrid[0:20, 0:24]
    ramp = np.stack([rows * 5, columns * 5, np.zeros_like(rows)], axis=2).astype(np.uint8)
    for half in ("train", "val"):
        save_all(tmp_path / half, {"ramp.png": Image.fromarray(ramp)})
    settings = {"noise": 1.0, "patch_size": 16, "patches": 600, "val_limit": 1}
    _, targets = patches(task_of(tmp_path, **settings), list(range(600)))
    levels = (targets * 255).round().long()
    corners = levels[:, :2].amin(dim=(2, 3)) // 5
    assert {tuple(c) for c in corners.tolist()} == {(y, x) for y in range(5) for x in range(9)}
    ways = {(*(p[:2, 0, 0] // 5 - c).tolist(), bool(p[0, 0, 0] == p[0, 0, 1]))
            for p, c in zip(levels, corners, strict=True)}  # fmt: skip
    assert len(ways) == 8
    _, plain = patches(task_of(tmp_path, augment=False, **settings), list(range(600)))
    assert bool((plain[:, 0].diff(dim=1) > 0).all())
    assert bool((plain[:, 1].diff(dim=2) > 0).all())


@pytest.mark.parametrize("in_chans", [1, 3])
def test_noise_has_the_level_asked_for_and_is_the_same_for_everybody(
    folder: Path, in_chans: int
) -> None:
    task = task_of(folder, noise=25, in_chans=in_chans, patch_size=32, patches=40)
    given, targets = patches(task, list(range(40)))
    difference = (given - targets) * 255
    assert difference.std().item() == pytest.approx(25, rel=0.02)
    assert abs(difference.mean().item()) < 0.5
    first, second = (
        next(iter(t.eval_batches([[1]], device=CPU)))[0]
        for t in (task, task_of(folder, noise=25, in_chans=in_chans, patch_size=16))
    )
    assert torch.equal(first.given, second.given)
    assert (first.given - first.target).std().item() * 255 == pytest.approx(25, rel=0.05)


def test_global_generators_are_left_alone(folder: Path) -> None:
    state = torch.get_rng_state()
    patches(task_of(folder, noise=15, patch_size=16), [0, 1])
    assert torch.equal(state, torch.get_rng_state())


def test_a_mapped_file_is_kept_and_made_again_when_an_image_changes(folder: Path) -> None:
    def files() -> set[str]:
        cache = Path(os.environ["XDG_CACHE_HOME"]) / "lwdna"
        return {path.name for path in cache.iterdir()} if cache.is_dir() else set()

    settings = {"scale": 2, "patch_size": 16, "in_memory": False}
    task_of(folder, **settings)
    kept = files()
    assert len(kept) == 2
    task_of(folder, **settings)
    assert files() == kept
    noise_image(77, 42, 33).save(folder / "val" / "1.png")
    ((example,),) = task_of(folder, **settings).eval_batches([[1]], device=CPU)
    assert len(files()) == 3
    expected = np.asarray(noise_image(77, 42, 33))[:32].transpose(2, 0, 1)
    assert np.array_equal((example.target[0] * 255).round().numpy().astype(np.uint8), expected)


def test_a_damaged_mapped_file_is_noticed_where_it_is_damaged(folder: Path) -> None:
    settings = {"scale": 2, "patch_size": 16, "in_memory": False}
    tasks = [task_of(folder, **settings) for _ in range(2)]
    (example,) = next(iter(tasks[0].eval_batches([[1]], device=CPU)))
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "lwdna"
    wanted = (example.target[0] * 255).round().numpy().astype(np.uint8).tobytes()
    (path,) = (path for path in cache.iterdir() if wanted in path.read_bytes())
    content = bytearray(path.read_bytes())
    content[content.index(wanted) + 100] ^= 1
    path.write_bytes(content)
    task = task_of(folder, **settings)
    list(task.eval_batches([[0]], device=CPU))
    with pytest.raises(FileError, match=r"restoration-.*\.bin, which keeps .* delete it"):
        list(task.eval_batches([[1]], device=CPU))
    path.unlink()
    (again,) = next(iter(task_of(folder, **settings).eval_batches([[1]], device=CPU)))
    assert torch.equal(again.target, example.target)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def shrink(path: Path) -> None:
    noise_image(0, 12, 33).save(path)


def text(path: Path) -> None:
    path.write_text("no image")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(cut, "is damaged"), (text, "is not an image"), (shrink, "12x33 pixels, less than the 16x16")],
)
def test_a_bad_image_is_named(folder: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(folder / "train" / "2.png")
    with pytest.raises(DataError, match=said) as caught:
        task_of(folder, scale=2, patch_size=16)
    assert str(folder / "train" / "2.png") in str(caught.value)


def test_sets_that_are_incomplete(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"set data\.root"):
        task_of(None, scale=2)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="is not a folder"):
        task_of(tmp_path / "nowhere", scale=2)
    with pytest.raises(DataError, match="no folder DIV2K_train_HR or train"):
        task_of(tmp_path, scale=2)
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="train has no images"):
        task_of(tmp_path, scale=2)
    with pytest.raises(DataError, match=r"there is no folder .*nope"):
        task_of(tmp_path, scale=2, train=["nope"])
    root = blocks(tmp_path / "whole", 2, "benchmark")
    (root / "val" / "LR_bicubic" / "X2" / "bx2.png").unlink()
    with pytest.raises(DataError, match="has no image bx2"):
        task_of(root, scale=2, patch_size=16)
    noise_image(0, 30, 37).save(root / "val" / "LR_bicubic" / "X2" / "bx2.png")
    with pytest.raises(DataError, match=r"has 30x37 pixels, but a 2th of .* would have 17x37"):
        task_of(root, scale=2, patch_size=16)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give either scale"),
        ({"scale": 2, "noise": 25}, "give either scale"),
        ({"scale": 3, "patch_size": 64}, "multiple of scale"),
        ({"scale": 2, "in_chans": 1}, "colour images"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RestorationSettings.model_validate(settings)
