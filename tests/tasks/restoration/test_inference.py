"""Tiles equal the whole image; symmetries are undone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lwdna.models import create_model
from lwdna.tasks.restoration.inference import (
    Restorer,
    apply_symmetry,
    averaged,
    reach,
    undo_symmetry,
)

NETWORKS = [
    ("edsr_baseline", {"blocks": 3, "width": 8, "scale": 2}, 3),
    ("srresnet", {"blocks": 2, "width": 8, "scale": 3}, 3),
    ("dncnn17", {"width": 8}, 1),
    ("unet_denoise", {"width": 4, "depth": 4}, 1),
]


class Counting(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(tuple(x.shape[2:]))
        restored: Tensor = self.model(x)
        return restored


@pytest.mark.parametrize(("name", "args", "channels"), NETWORKS)
def test_tiles_equal_the_whole_image(name: str, args: dict[str, int], channels: int) -> None:
    torch.manual_seed(0)
    model = Counting(create_model(name, **args).eval())
    images = torch.rand(1, channels, 211, 173)
    with torch.no_grad():
        whole = model.model(images)
    tiled = Restorer(model, tile=64)(images)
    assert tiled.shape == whole.shape
    assert (tiled - whole).abs().max() < 1e-4 * whole.abs().max().clamp_min(1)
    assert model.sizes.count((211, 173)) == 0
    assert len(model.sizes) >= 12


def test_a_network_that_looks_everywhere_is_given_the_whole_image() -> None:
    class Global(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x.mean(dim=(2, 3), keepdim=True)

    images = torch.rand(1, 1, 100, 130)
    model = Global()
    assert torch.equal(Restorer(model, tile=64)(images), model(images))


@pytest.mark.parametrize(("distance", "expected"), [(0, 0), (1, 32), (32, 32), (33, 64)])
def test_reach_of_one_convolution(distance: int, expected: int) -> None:
    model = nn.Conv2d(1, 1, 3, padding=distance, dilation=max(1, distance))
    if distance == 0:
        model = nn.Conv2d(1, 1, 1)
    assert reach(model, 1, torch.device("cpu")) == expected


def test_symmetries_are_undone_and_differ() -> None:
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    versions = [apply_symmetry(image, symmetry) for symmetry in range(8)]
    assert len({(version.shape, tuple(version.flatten().tolist())) for version in versions}) == 8
    for symmetry, version in enumerate(versions):
        assert torch.equal(undo_symmetry(version, symmetry), image)


def test_an_average_over_symmetries_is_symmetric() -> None:
    torch.manual_seed(0)
    model = create_model("edsr_baseline", blocks=1, width=4).eval()
    image = torch.rand(1, 3, 9, 12)
    restore = Restorer(model, tile=64, ensemble=True)
    result = restore(image)
    assert result.shape == (1, 3, 18, 24)
    assert not torch.allclose(result, Restorer(model, tile=64)(image), atol=1e-4)
    for symmetry in range(8):
        other = undo_symmetry(restore(apply_symmetry(image, symmetry)), symmetry)
        assert torch.allclose(other, result, atol=1e-5)
    assert torch.allclose(averaged(lambda x: x, image), image)
