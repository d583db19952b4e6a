"""Residual networks for CIFAR: three stages of 32, 16 and 8 pixels behind a 3x3 stem.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385), section
4.2: ResNet-20, 32, 56 and 110. He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016
(arXiv 1603.05027): ResNet-164, bottlenecks with pre-activation.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from lwdna.errors import ModelError
from lwdna.models.common import conv3x3, initialise, scaled
from lwdna.models.registry import register_model

Shortcut = Literal["A", "B"]


class ZeroPadShortcut(nn.Module):
    """Option A: every ``stride``-th pixel, then channels of zeros behind those that come in.

    How many zeros follows from what comes in, so that the shortcut fits any width of the layer
    before. Input (N, C, H, W) with C at most ``out_channels``, output
    (N, out_channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, out_channels: int, stride: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.out_channels - x.shape[1]))

    def extra_repr(self) -> str:
        return f"{self.out_channels}, stride={self.stride}"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, each normalised; the sum with the shortcut is rectified."""

    expansion = 1
    pre_activation = False

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != width:
            self.shortcut = _shortcut(in_channels, width, stride, shortcut)
            if shortcut == "B":
                self.shortcut = nn.Sequential(self.shortcut, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        rectified: Tensor = self.relu(out + shortcut)
        return rectified


class PreActBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each normalised and rectified beforehand.

    Where the shape changes, the shortcut starts behind the first activation, as the authors' code
    has it; elsewhere it is the identity.
    """

    expansion = 4
    pre_activation = True

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = _shortcut(in_channels, out_channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        out = self.conv1(activated)
        out = self.conv2(self.relu(self.bn2(out)))
        out = self.conv3(self.relu(self.bn3(out)))
        total: Tensor = out + shortcut
        return total


class CifarResNet(nn.Module):
    """Stem, three stages of ``blocks`` blocks with strides 1, 2 and 2, average, classifier.

    Input (N, in_chans, H, W), made for 32x32 pixels; output (N, num_classes).
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[PreActBottleneck],
        blocks: int,
        widths: tuple[int, int, int],
        *,
        shortcut: Shortcut,
        num_classes: int,
        in_chans: int,
    ) -> None:
        super().__init__()
        if shortcut not in get_args(Shortcut):
            raise ModelError(
                f"shortcut is {shortcut!r}; choose 'A' (zero padding) or 'B' (1x1 convolution)"
            )
        self.num_classes = num_classes
        channels = widths[0]
        self.stem = nn.Sequential(conv3x3(in_chans, channels))
        if not block.pre_activation:
            self.stem.extend([nn.BatchNorm2d(channels), nn.ReLU(inplace=True)])
        self.stages = nn.Sequential()
        for index, width in enumerate(widths):
            stage = nn.Sequential()
            for number in range(blocks):
                stride = 2 if index > 0 and number == 0 else 1
                stage.append(block(channels, width, stride, shortcut))
                channels = width * block.expansion
            self.stages.append(stage)
        if block.pre_activation:
            self.stages.extend([nn.BatchNorm2d(channels), nn.ReLU(inplace=True)])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw fresh weights, as :func:`lwdna.models.common.initialise` describes."""
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.stem(x))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def _shortcut(in_channels: int, out_channels: int, stride: int, kind: Shortcut) -> nn.Module:
    if kind == "A":
        return ZeroPadShortcut(out_channels, stride)
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


@register_model
def resnet20_cifar(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0, shortcut: Shortcut = "A"
) -> CifarResNet:
    """ResNet-20 for 32x32 pixels: 0.27 M parameters, 8.75 % error on CIFAR-10 in the paper."""
    return _cifar_resnet(20, BasicBlock, num_classes, in_chans, width_mult, shortcut)


@register_model
def resnet32_cifar(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0, shortcut: Shortcut = "A"
) -> CifarResNet:
    """ResNet-32 for 32x32 pixels: 0.46 M parameters, 7.51 % error on CIFAR-10 in the paper."""
    return _cifar_resnet(32, BasicBlock, num_classes, in_chans, width_mult, shortcut)


@register_model
def resnet56_cifar(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0, shortcut: Shortcut = "A"
) -> CifarResNet:
    """ResNet-56 for 32x32 pixels: 0.85 M parameters, 6.97 % error on CIFAR-10 in the paper."""
    return _cifar_resnet(56, BasicBlock, num_classes, in_chans, width_mult, shortcut)


@register_model
def resnet110_cifar(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0, shortcut: Shortcut = "A"
) -> CifarResNet:
    """ResNet-110 for 32x32 pixels: 1.7 M parameters, 6.43 % error on CIFAR-10 in the paper."""
    return _cifar_resnet(110, BasicBlock, num_classes, in_chans, width_mult, shortcut)


@register_model
def resnet110_bottleneck_cifar(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0, shortcut: Shortcut = "B"
) -> CifarResNet:
    """Pre-activation ResNet-110 with bottlenecks for 32x32 pixels: 1.1 M parameters.

    Of the size of the ResNet-110 in the experiments of DHP (ECCV 2020), which reports 5.31 % error
    on CIFAR-10.
    """
    return _cifar_resnet(110, PreActBottleneck, num_classes, in_chans, width_mult, shortcut)


@register_model
def resnet164_cifar(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0, shortcut: Shortcut = "B"
) -> CifarResNet:
    """Pre-activation ResNet-164 for 32x32 pixels: 1.7 M parameters, 5.46 % error on CIFAR-10.

    The authors' code projects where the shape changes, hence ``shortcut="B"``.
    """
    return _cifar_resnet(164, PreActBottleneck, num_classes, in_chans, width_mult, shortcut)


@register_model
def resnet8_digits(
    num_classes: int = 10, in_chans: int = 1, width_mult: float = 1.0, shortcut: Shortcut = "A"
) -> CifarResNet:
    """ResNet-8 with widths 12, 24, 48 for 8x8 grey digits: 43 k parameters, trained in seconds."""
    return _cifar_resnet(8, BasicBlock, num_classes, in_chans, width_mult, shortcut, width=12)


def _cifar_resnet(
    depth: int,
    block: type[BasicBlock] | type[PreActBottleneck],
    num_classes: int,
    in_chans: int,
    width_mult: float,
    shortcut: Shortcut,
    width: int = 16,
) -> CifarResNet:
    layers = 3 if block is PreActBottleneck else 2
    return CifarResNet(
        block,
        (depth - 2) // (3 * layers),
        (scaled(width, width_mult), scaled(2 * width, width_mult), scaled(4 * width, width_mult)),
        shortcut=shortcut,
        num_classes=num_classes,
        in_chans=in_chans,
    )
