"""Densely connected networks for CIFAR: three dense blocks of 32, 16 and 8 pixels.

Huang et al., "Densely Connected Convolutional Networks", CVPR 2017 (arXiv 1608.06993), section 3
and table 2. The plain kind has 3x3 convolutions only; the BC kind puts a 1x1 convolution with four
times the growth rate before each of them and halves the channels between the blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lwdna.models.common import conv3x3, initialise, scaled
from lwdna.models.registry import register_model


class DenseLayer(nn.Module):
    """Normalise, rectify, convolve; the new channels follow those that came in.

    Input (N, C, H, W), output (N, C + growth, H, W).
    """

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = conv3x3(in_channels, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.conv(self.relu(self.bn(x)))), dim=1)


class DenseBottleneck(nn.Module):
    """A dense layer whose 3x3 convolution sees ``4 * growth`` channels from a 1x1 convolution.

    Input (N, C, H, W), output (N, C + growth, H, W).
    """

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = conv3x3(4 * growth, growth)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.relu(self.bn1(x)))
        return torch.cat((x, self.conv2(self.relu(self.bn2(out)))), dim=1)


class CifarDenseNet(nn.Module):
    """Stem, three dense blocks with two transitions between, average, classifier.

    Input (N, in_chans, H, W), made for 32x32 pixels; output (N, num_classes).
    """

    def __init__(
        self, depth: int, growth: int, *, compact: bool, num_classes: int, in_chans: int
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        layer = DenseBottleneck if compact else DenseLayer
        layers = (depth - 4) // (6 if compact else 3)
        # Section 3, "Implementation Details": 16 channels, twice the growth rate for BC. The 16
        # is written as 4/3 of the growth rate of 12 so that it follows a width multiplier.
        channels = 2 * growth if compact else max(1, round(growth * 4 / 3))
        self.stem = conv3x3(in_chans, channels)
        self.features = nn.Sequential()
        for block in range(3):
            if block > 0:
                narrower = channels // 2 if compact else channels
                self.features.append(_transition(channels, narrower))
                channels = narrower
            for _ in range(layers):
                self.features.append(layer(channels, growth))
                channels += growth
        self.features.extend([nn.BatchNorm2d(channels), nn.ReLU(inplace=True)])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw fresh weights, as :func:`lwdna.models.common.initialise` describes."""
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(self.stem(x))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def _transition(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.AvgPool2d(2),
    )


@register_model
def densenet40_cifar(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0
) -> CifarDenseNet:
    """DenseNet-40 with growth rate 12: 1.0 M parameters, 5.24 % error on CIFAR-10+."""
    return _cifar_densenet(40, False, num_classes, in_chans, width_mult)


@register_model
def densenet_bc40_cifar(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0
) -> CifarDenseNet:
    """DenseNet-BC-40 with growth rate 12: 0.18 M parameters, a small one not in the paper."""
    return _cifar_densenet(40, True, num_classes, in_chans, width_mult)


@register_model
def densenet_bc100_cifar(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0
) -> CifarDenseNet:
    """DenseNet-BC-100 with growth rate 12: 0.8 M parameters, 4.51 % error on CIFAR-10+."""
    return _cifar_densenet(100, True, num_classes, in_chans, width_mult)


def _cifar_densenet(
    depth: int, compact: bool, num_classes: int, in_chans: int, width_mult: float
) -> CifarDenseNet:
    return CifarDenseNet(
        depth,
        scaled(12, width_mult),
        compact=compact,
        num_classes=num_classes,
        in_chans=in_chans,
    )
