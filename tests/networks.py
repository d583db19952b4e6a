"""Small networks shared by tests."""

from __future__ import annotations

import torch
from timm.models.efficientnet import EfficientNet, decode_arch_def
from torch import Tensor, nn


class Branches(nn.Module):
    """Concatenation, depthwise and grouped convolutions, a residual, two linear layers.

    image (3, 16, 16) -> stem 8 -> [left 12 | right 6] -> depthwise 18 -> grouped 18 (2 groups)
    -> residual -> pool -> linear 10 -> linear 5
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.left = nn.Conv2d(8, 12, 3, padding=1, bias=False)
        self.right = nn.Conv2d(8, 6, 1)
        self.depthwise = nn.Conv2d(18, 18, 3, padding=1, groups=18)
        self.grouped = nn.Conv2d(18, 18, 3, padding=1, groups=2)
        self.hidden = nn.Linear(18, 10)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = torch.cat([self.left(x), self.right(x)], 1).relu()
        x = (x + self.grouped(self.depthwise(x))).relu()
        return self.head(self.hidden(x.mean((2, 3))).relu())


class Chain(nn.Module):
    """Three plain convolutions and a classifier."""

    def __init__(self, widths: tuple[int, int, int] = (12, 20, 16), classes: int = 5) -> None:
        super().__init__()
        a, b, c = widths
        self.one = nn.Conv2d(3, a, 3, padding=1)
        self.two = nn.Conv2d(a, b, 3, padding=1, stride=2)
        self.three = nn.Conv2d(b, c, 3, padding=1)
        self.head = nn.Linear(c, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.one(x).relu()).relu()
        return self.head(self.three(x).relu().mean((2, 3)))


def with_small_classifier(vgg: nn.Module) -> nn.Module:
    """Let a VGG of torchvision classify by layers of 96 and 64 units, not of 4096."""
    sizes = (512 * 7 * 7, 96, 64, 10)
    for place, inputs, outputs in zip((0, 3, 6), sizes, sizes[1:], strict=False):
        vgg.classifier[place] = nn.Linear(inputs, outputs)
    return vgg


def short_mixnet(num_classes: int) -> nn.Module:
    """One block of each kind that MixNet-S is made of."""
    blocks = [
        ["ds_r1_k3_s1_e1_c16"],
        ["ir_r1_k3_a1.1_p1.1_s2_e6_c24", "ir_r1_k3_a1.1_p1.1_s1_e3_c24"],
        ["ir_r1_k3.5.7_s2_e6_c40_se0.5_nsw", "ir_r1_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw"],
        ["ir_r1_k3.5.7.9.11_s2_e6_c80_se0.5_nsw"],
    ]
    return EfficientNet(
        decode_arch_def(blocks), num_classes=num_classes, num_features=160, stem_size=16
    )
