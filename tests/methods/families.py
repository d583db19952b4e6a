"""Small networks of every kind a criterion must cope with, and a loss for any of them."""

from __future__ import annotations

import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.layers import ScaledStdConv2d
from timm.models.densenet import DenseNet
from torch import Tensor, nn

from networks import Branches, Chain


class UpScaler(nn.Module):
    """As in EDSR: no normalisation, a long residual, pixel shuffle; the output is an image."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 7, 3, padding=1)
        self.one = nn.Conv2d(7, 11, 3, padding=1)
        self.two = nn.Conv2d(11, 7, 3, padding=1)
        self.up = nn.Conv2d(7, 5 * 4, 3, padding=1)
        self.tail = nn.Conv2d(5, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        x = x + 0.5 * self.two(self.one(x).relu())
        return self.tail(F.pixel_shuffle(self.up(x), 2))


class Hourglass(nn.Module):
    """Transposed convolutions, plain, grouped and depthwise; one convolution is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.shared = nn.Conv2d(6, 6, 3, padding=1)
        self.up = nn.ConvTranspose2d(6, 8, 2, stride=2)
        self.grouped = nn.ConvTranspose2d(8, 10, 3, padding=1, groups=2)
        self.depthwise = nn.ConvTranspose2d(10, 10, 3, padding=1, groups=10)
        self.out = nn.Conv2d(10, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.down(x)).relu()
        x = self.shared(self.shared(x).relu()).relu()
        return self.out(self.depthwise(self.grouped(self.up(x).relu())))


class Attention(nn.Module):
    """Queries and keys meet in a product: no layer reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, stride=4)
        self.query = nn.Linear(6, 7)
        self.key = nn.Linear(6, 7)
        self.value = nn.Linear(6, 5)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        weights = (self.query(x) @ self.key(x).transpose(1, 2)).softmax(-1)
        return self.head((weights @ self.value(x)).mean(1))


class Standardised(nn.Module):
    """As in NFNet: weights are standardised as they are read, a branch begins with gain zero."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ScaledStdConv2d(3, 6, 3, stride=2, padding=1)
        self.down = ScaledStdConv2d(6, 9, 3, stride=2, padding=1)
        self.up = ScaledStdConv2d(9, 6, 1)
        self.gain = nn.Parameter(torch.zeros(()))
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        branch = F.interpolate(self.up(self.down(x).relu()), scale_factor=2.0)
        return self.head((x + self.gain * branch).relu().mean((2, 3)))


def _timm(name: str) -> nn.Module:
    return timm.create_model(name, num_classes=5)


def _shuffle() -> nn.Module:
    return torchvision.models.ShuffleNetV2([2, 2, 2], [8, 12, 20, 28, 36], num_classes=5)


FAMILIES = {
    "chain": Chain,
    "branches": Branches,
    "upscaler": UpScaler,
    "hourglass": Hourglass,
    "attention": Attention,
    "resnet": lambda: _timm("test_resnet"),
    "efficientnet": lambda: _timm("test_efficientnet"),
    "weight-standardised": Standardised,
    "layer-norm": lambda: _timm("test_convnext"),
    "densenet": lambda: DenseNet(growth_rate=5, block_config=(2, 3), num_classes=5),
    "shuffle": _shuffle,
}

EXACT = ("chain", "branches", "upscaler", "hourglass", "attention")


def batches(sizes: tuple[int, ...] = (3, 2), dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Images only: the loss needs no labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(sum(sizes), 3, 32, 32, generator=generator, dtype=dtype)
    return list(images.split(list(sizes)))


def loss(network: nn.Module, images: Tensor) -> Tensor:
    """A mean over examples of something that depends on every output, not linearly."""
    outputs = network(images).flatten(1)
    weights = torch.linspace(0.5, 2, outputs.shape[1], dtype=outputs.dtype)
    return ((outputs - 0.3).square() * weights).mean(1).mean()
