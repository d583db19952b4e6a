"""Bicubic resizing, PSNR and SSIM against independent computations and published figures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from lwdna.engine import evaluate
from lwdna.tasks.restoration.degrade import resize_bicubic
from lwdna.tasks.restoration.metrics import luma, psnr, ssim

from .sets import save_all, task_of


def imresize_matrix(old: int, new: int) -> np.ndarray:
    """MATLAB's documented algorithm for one axis: cubic kernel, mirrored border, (new, old)."""
    shrink = min(1.0, new / old)
    matrix = np.zeros((new, old))
    for row in range(new):
        centre = (row + 0.5) * old / new - 0.5
        reach = 2 / shrink
        for tap in range(math.floor(centre - reach), math.ceil(centre + reach) + 1):
            x = abs(centre - tap) * shrink
            weight = 0.0
            if x < 1:
                weight = 1.5 * x**3 - 2.5 * x**2 + 1
            elif x < 2:
                weight = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            source = tap % (2 * old)
            matrix[row, min(source, 2 * old - 1 - source)] += weight
    return matrix / matrix.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("height", "width"), [(31, 19), (13, 29), (93, 76)])
def test_resizing_is_that_of_matlab_inside_the_image(height: int, width: int) -> None:
    image = torch.rand(1, 3, 62, 57, generator=torch.Generator().manual_seed(0))
    rows, columns = imresize_matrix(62, height), imresize_matrix(57, width)
    expected = torch.from_numpy(rows @ image[0].double().numpy() @ columns.T)[None]
    levels = (expected.clamp(0, 1) * 255).round()
    found = (resize_bicubic(image, height, width) * 255).round()
    inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    differing = (found - levels)[inside]
    assert differing.abs().max() <= 1  # a value half-way between two levels may fall either way
    assert (differing != 0).float().mean() < 0.002


def test_luma_of_pure_colours() -> None:
    """What MATLAB's rgb2ycbcr gives for black, white, red, green and blue."""
    colours = torch.tensor(
        [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float32
    )
    assert luma(colours[:, :, None, None]).flatten().tolist() == [16, 235, 81, 145, 41]


def ssim_by_hand(one: np.ndarray, two: np.ndarray) -> float:
    """Wang et al. 2004: Gaussian window of 11 pixels, standard deviation 1.5, valid places only."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = torch.from_numpy(np.outer(taps, taps) / taps.sum() ** 2)[None, None]

    def mean(values: np.ndarray) -> Tensor:
        return F.conv2d(torch.from_numpy(values)[None, None], window)

    first, second = mean(one), mean(two)
    variances = mean(one**2) - first**2, mean(two**2) - second**2
    covariance = mean(one * two) - first * second
    low, high = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * first * second + low) * (2 * covariance + high)
    below = (first**2 + second**2 + low) * (variances[0] + variances[1] + high)
    return float((above / below).mean())


@pytest.mark.parametrize(("channels", "on_luma"), [(1, False), (3, False), (3, True)])
@pytest.mark.parametrize("border", [0, 3])
def test_psnr_and_ssim_by_hand(channels: int, on_luma: bool, border: int) -> None:
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(1, channels, 31, 37, generator=generator)
    restored = target + 0.1 * torch.randn(target.shape, generator=generator)
    how = {"border": border, "on_luma": on_luma}
    pair = []
    for image in (restored, target):
        levels = np.clip(np.rint(image[0].double().numpy() * 255), 0, 255)
        if on_luma:
            weights = np.array([65.481, 128.553, 24.966]) / 255
            levels = np.rint(16 + np.tensordot(weights, levels, 1))[None]
        pair.append(levels[:, border : 31 - border, border : 37 - border])
    error = np.mean((pair[0] - pair[1]) ** 2)
    assert psnr(restored, target, **how).item() == pytest.approx(
        10 * math.log10(255**2 / error), abs=1e-3
    )
    expected = np.mean([ssim_by_hand(a, b) for a, b in zip(*pair, strict=True)])
    assert ssim(restored, target, **how).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("level", [0.0, 1.0, 0.5])
def test_an_image_restored_exactly_counts_60_db(level: float) -> None:
    page = torch.full((1, 3, 19, 23), level)
    assert psnr(page, page, border=0, on_luma=False).item() == 60.0
    assert psnr(page, page, border=2, on_luma=True).item() == 60.0
    assert ssim(page, page, border=0, on_luma=False).item() == pytest.approx(1.0)


def test_no_psnr_is_beyond_that_of_an_exact_image() -> None:
    """One level off in one value of 300,000 would be 10 log10(255^2 * 300000) = 102.9 dB."""
    page = torch.ones(1, 3, 200, 500)
    other = page.clone()
    other[0, 0, 7, 11] = 254 / 255
    assert psnr(other, page, border=0, on_luma=False).item() == 60.0
    other[0, 0] = 254 / 255  # a third of the values: 10 log10(255^2 * 3) = 52.9 dB
    assert psnr(other, page, border=0, on_luma=False).item() == pytest.approx(52.902, abs=1e-3)


class Sometimes(nn.Module):
    """Returns its input, with one value changed where the image is white."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        white = x.mean() > 0.9
        x = x.clone()
        if white:
            x[..., 5, 7] = self.value
        return x


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_image_that_is_not_finite_is_the_worst_there_is(tmp_path: Path, value: float) -> None:
    pages = {"white.png": Image.new("L", (24, 24), 255), "black.png": Image.new("L", (24, 24), 0)}
    for half in ("train", "val"):
        save_all(tmp_path / half, pages)
    task = task_of(tmp_path, noise=1e-3, in_chans=1, patch_size=16)
    found = evaluate(Sometimes(value), task, 2, outputs=tmp_path / "out")
    assert found["not_finite"] == 1
    assert found["psnr"] == pytest.approx(60.0 / 2)  # the noise is too little to show
    assert found["ssim"] == pytest.approx(1.0 / 2)
    assert found["input_psnr"] == 60.0
    assert 0 < found["val_loss"] < 1e-9
    assert np.asarray(Image.open(tmp_path / "out" / "val" / "white.png"))[5, 7] in (0, 255)


class Nothing(nn.Module):
    """A network that returns what the metrics call the input."""

    def __init__(self, scale: int | None) -> None:
        super().__init__()
        self.scale = scale or 1
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.scale == 1:
            return x
        return resize_bicubic(x, x.shape[2] * self.scale, x.shape[3] * self.scale)


@pytest.mark.parametrize(("scale", "published"), [(2, 33.66), (3, 30.39), (4, 28.42)])
def test_bicubic_baselines_on_set5_are_the_published_ones(
    shared_data: Path, scale: int, published: float
) -> None:
    task = task_of(
        shared_data / "restoration", scale=scale, train=["Set5"], val=["Set5"], patch_size=48
    )
    found = evaluate(Nothing(scale), task, 2)
    assert found["psnr"] == pytest.approx(published, abs=0.02)
    assert found["input_psnr"] == found["psnr"]


def test_noise_25_on_set12(shared_data: Path) -> None:
    """20 log10(255 / 25) is 20.17 dB; cutting off what is no colour helps a little."""
    settings = {"noise": 25, "in_chans": 1, "train_limit": 1, "val_limit": 4}
    task = task_of(shared_data / "restoration", train=["Set12"], val=["Set12"], **settings)
    found = evaluate(Nothing(None), task, 5)
    assert 20.17 < found["psnr"] < 20.7
    assert found["psnr"] == found["input_psnr"]
