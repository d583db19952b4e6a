"""Crops of frames against other routes to the same pixels, and boxes there and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn.functional import grid_sample

from lwdna.data.sequences import Window, cut, window_about

WIDTH, HEIGHT = 53, 37
places = st.floats(-200, 300)


def noise(seed: int = 0) -> NDArray[np.uint8]:
    shape = (HEIGHT, WIDTH, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def triangles(start: float, step: float, size: int, length: int) -> NDArray[np.float64]:
    """Return weights (size, length) by the definition: a tent about the centre of every pixel of
    the crop, over pixels without end, of which those beyond the image are the one at its border."""
    reach = max(step, 1.0)
    weights = np.zeros((size, length))
    for row in range(size):
        centre = start + (row + 0.5) * step
        pixels = np.arange(math.floor(centre - reach) - 1, math.ceil(centre + reach) + 2)
        tent = np.maximum(0, 1 - np.abs(pixels + 0.5 - centre) / reach)
        np.add.at(weights[row], np.clip(pixels, 0, length - 1), tent / tent.sum())
    return weights


@given(x=places, y=places, side=st.floats(1, 400), size=st.sampled_from([1, 7, 31]))
@settings(max_examples=150, deadline=None)
def test_a_crop_is_a_weighted_mean_with_the_border_repeated(
    x: float, y: float, side: float, size: int
) -> None:
    """Wherever the window lies, near or far beyond the image, and however large it is."""
    image, window = noise(), Window(x, y, side, size)
    rows = triangles(window.top, side / size, size, HEIGHT)
    columns = triangles(window.left, side / size, size, WIDTH)
    expected = np.einsum("ih,hwc,jw->ijc", rows, image, columns)
    crop = cut(image, window)
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.uint8
    assert np.abs(crop - expected).max() < 1.1  # rounded twice, once for each axis


@pytest.mark.parametrize("window", [Window(20.3, 17.8, 11, 47), Window(2.6, 33.1, 17, 61)])
def test_an_enlarged_crop_is_sampled_as_torch_samples_it(window: Window) -> None:
    image = noise(1)
    at = (np.arange(window.size) + 0.5) / window.scale
    x = torch.tensor((window.left + at) / WIDTH * 2 - 1)
    y = torch.tensor((window.top + at) / HEIGHT * 2 - 1)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    values = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    expected = grid_sample(values, grid, padding_mode="border", align_corners=False)
    assert np.abs(cut(image, window) - expected[0].permute(1, 2, 0).numpy()).max() < 1.1


@pytest.mark.parametrize("side", [5.0, 13.0, 29.0, 30.7])
def test_a_ramp_stays_a_ramp_without_a_shift(side: float) -> None:
    """A pixel of the crop whose centre is x has the value at x, smaller or larger: 4 (x - 1/2)."""
    image = np.repeat(4 * np.arange(WIDTH, dtype=np.uint8)[None, :, None], HEIGHT, axis=0)
    window = Window(26.2, 18.5, side, 13)
    expected = 4 * (window.left + (np.arange(13) + 0.5) * side / 13 - 0.5)
    crop = cut(np.repeat(image, 3, axis=2), window)
    assert np.abs(crop - expected[None, :, None]).max() <= 0.501


def test_a_window_of_whole_pixels_is_the_part_of_the_image() -> None:
    image = noise(2)
    assert np.array_equal(cut(image, Window(20.5, 18.5, 23, 23)), image[7:30, 9:32])


def test_a_window_far_away_shows_the_nearest_corner() -> None:
    """A million pixels between it and the image are not made."""
    image = noise(3)
    assert (cut(image, Window(1e6, -1e6, 100, 5)) == image[0, -1]).all()


boxes = st.tuples(places, places, st.floats(0.1, 300), st.floats(0.1, 300))


@given(x=places, y=places, side=st.floats(1, 400), size=st.integers(1, 400), box=boxes)
def test_boxes_come_back_from_the_crop(
    x: float, y: float, side: float, size: int, box: tuple[float, ...]
) -> None:
    window = Window(x, y, side, size)
    stack = np.array([[box, (1, 2, 3, 4)]])
    np.testing.assert_allclose(window.out_of(window.into(stack)), stack, rtol=1e-9, atol=1e-9)


def test_the_window_itself_fills_the_crop() -> None:
    window = Window(31.5, 23, 47, 94)
    assert window.into((8, -0.5, 47, 47)).tolist() == [0, 0, 94, 94]
    assert window.into((31.5, 23, 5, 7)).tolist() == [47, 47, 10, 14]
    assert window.out_of([[47, 47, 10, 14]]).tolist() == [[31.5, 23, 5, 7]]


def test_the_side_is_rounded_up() -> None:
    """5 sqrt(9 x 16) = 60; 4 sqrt(7 x 11) = 35.1."""
    assert window_about((10, 20, 9, 16), 5, 288) == Window(14.5, 28, 60, 288)
    assert window_about((10, 20, 7, 11), 4, 128) == Window(13.5, 25.5, 36, 128)


@given(box=boxes, area=st.floats(0.5, 6), width=st.integers(2, 300), height=st.integers(2, 300))
def test_windows_moved_into_the_image(
    box: tuple[float, ...], area: float, width: int, height: int
) -> None:
    free = window_about(box, area, 31)
    inside = window_about(box, area, 31, border="inside", image_size=(width, height))
    assert inside.side == min(free.side, width, height)
    for start, length in ((inside.left, width), (inside.top, height)):
        assert 0 <= start == int(start) <= length - inside.side
    major = window_about(box, area, 31, border="inside_major", image_size=(width, height))
    assert major.side == min(free.side, max(width, height))
    for start, length in ((major.left, width), (major.top, height)):
        if major.side <= length:
            assert 0 <= start <= length - major.side
        else:
            assert abs(-start - (start + major.side - length)) <= 1


def test_windows_that_fit_are_only_moved_to_whole_pixels() -> None:
    """A side of 20 about (40.3, 29.9): from 30.3 and 19.9."""
    window = window_about((35.3, 19.9, 10, 20), 1.41, 64, border="inside", image_size=(80, 60))
    assert (window.left, window.top, window.side) == (30, 20, 20)


@pytest.mark.parametrize(
    "box", [(1, 2, 0, 3), (1, 2, 3, -1), (1, math.nan, 3, 4), (1, 2, 3, math.inf)]
)
def test_no_window_about_a_box_without_area(box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="it has no area"):
        window_about(box, 5, 288)


def test_windows_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="no window"):
        Window(1, 2, 0, 3)
    with pytest.raises(ValueError, match="needs the size of the image"):
        window_about((1, 2, 3, 4), 5, 288, border="inside")
