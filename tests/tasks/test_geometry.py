"""Crops, flips and erasures of whole batches, against torchvision's one by one."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from lwdna.data import DataSettings
from lwdna.data.crops import crop_padded, crop_resized, draw_crops, draw_flips
from lwdna.data.erasing import draw_erasures, erase
from lwdna.data.settings import ResolvedAugment, resolve


def augment(**changes: object) -> ResolvedAugment:
    settings = DataSettings.model_validate({"augment": {"crop": "random-resized"} | changes})
    return resolve(settings, "folder", 2).augment


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("side", [5, 13, 29])
def test_resized_crops_equal_torchvisions(mode: str, side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 17, 19), generator=generator).float()
    boxes = torch.tensor(
        [
            [0, 0, 17, 19],
            [3, 5, 11, 7],
            [16, 0, 1, 19],
            [2, 2, 2, 3],
            [0, 6, 17, 13],
            [4, 4, 13, 13],
        ]
    )
    flips = torch.tensor([False, True, False, True, True, False])
    ours = crop_resized(images, boxes, flips, side, mode)  # type: ignore[arg-type]
    exact = "nearest-exact" if mode == "nearest" else mode  # Pillow's nearest is the exact one
    for image, box, flip, result in zip(images, boxes.tolist(), flips, ours, strict=True):
        expected = F.resized_crop(image, *box, [side, side], InterpolationMode(exact))
        expected = F.horizontal_flip(expected) if flip else expected
        torch.testing.assert_close(result, expected.clamp(0, 255), atol=2e-2, rtol=0)


def test_padded_crops_equal_torchvisions() -> None:
    images = torch.randint(0, 256, (9, 2, 7, 7), dtype=torch.uint8)
    settings = augment(crop="pad", padding=3)
    numbers = torch.arange(9)
    boxes = draw_crops(settings, 0, 0, numbers, torch.full((9, 2), 7), 7)
    flips = torch.arange(9) % 2 == 0
    ours = crop_padded(images, boxes, flips, 3)
    for image, box, flip, result in zip(images, boxes.tolist(), flips, ours, strict=True):
        expected = F.crop(image, *box)
        assert torch.equal(result, F.horizontal_flip(expected) if flip else expected)


def test_padded_crops_reach_every_offset_alike() -> None:
    numbers = torch.arange(14_700)
    sizes = torch.full((len(numbers), 2), 8)
    boxes = draw_crops(augment(crop="pad", padding=3), 0, 0, numbers, sizes, 8)
    assert (boxes[:, 2:] == 8).all()
    counts = torch.bincount((boxes[:, 0] + 3) * 7 + boxes[:, 1] + 3, minlength=49)
    assert len(counts) == 49
    assert (counts - 300).abs().max() < 5 * 300**0.5


def test_random_boxes_lie_inside_and_keep_their_ranges() -> None:
    numbers = torch.arange(5000)
    sizes = torch.stack([numbers % 41 + 40, numbers % 53 + 40], dim=1)
    settings = augment(scale=(0.2, 0.6), ratio=(0.5, 2.0))
    top, left, height, width = draw_crops(settings, 0, 0, numbers, sizes, 8).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= sizes[:, 0]).all()
    assert (left + width <= sizes[:, 1]).all()
    area = height * width / sizes.prod(dim=1)
    assert area.min() > 0.17
    assert area.max() < 0.64
    assert abs(float(area.mean()) - 0.4) < 0.02
    aspect = (width / height).log()
    assert aspect.abs().max() < math.log(2.1)
    assert abs(float(aspect.mean())) < 0.05
    # the last row is not out of reach
    assert ((top + height == sizes[:, 0]) & (height < sizes[:, 0])).any()


@pytest.mark.parametrize(("size", "box"), [((4, 90), [0, 42, 4, 5]), ((90, 4), [42, 0, 5, 4])])
def test_images_too_long_for_the_ratio_get_a_central_crop(
    size: tuple[int, int], box: list[int]
) -> None:
    boxes = draw_crops(
        augment(scale=(1.0, 1.0)), 0, 0, torch.arange(3), torch.tensor([size] * 3), 8
    )
    assert boxes.tolist() == [box] * 3


def test_flips_come_with_their_probability() -> None:
    numbers = torch.arange(10_000)
    assert not draw_flips(augment(horizontal_flip=0.0), 0, 0, numbers).any()
    assert draw_flips(augment(horizontal_flip=1.0), 0, 0, numbers).all()
    share = draw_flips(augment(horizontal_flip=0.3), 0, 0, numbers).float().mean()
    assert abs(float(share) - 0.3) < 0.03


def test_erasing_clears_exactly_the_boxes() -> None:
    numbers = torch.arange(400)
    boxes = draw_erasures(augment(random_erasing=0.25), 0, 0, numbers, 20)
    hit = boxes.prod(dim=1) + boxes[:, 2] > 0
    assert 60 < int(hit.sum()) < 140
    images = erase(torch.ones(400, 2, 20, 20), boxes)
    for image, (top, left, height, width) in zip(images, boxes.tolist(), strict=True):
        expected = torch.ones(2, 20, 20)
        expected[:, top : top + height, left : left + width] = 0
        assert torch.equal(image, expected)
    area = boxes[hit, 2:].prod(dim=1) / 400
    assert area.min() > 0.01
    assert area.max() < 0.37
