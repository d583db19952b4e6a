"""Wide residual networks for CIFAR: few blocks of many channels, with pre-activation.

Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016 (arXiv 1605.07146).
"""

from __future__ import annotations

from torch import Tensor, nn

from lwdna.models.common import conv3x3, initialise, scaled
from lwdna.models.registry import register_model


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each normalised and rectified beforehand.

    Where the shape changes, the shortcut is a 1x1 convolution behind the first activation;
    elsewhere it is the identity. Input (N, C, H, W), output (N, width, H / stride, W / stride).
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3x3(in_channels, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != width:
            self.shortcut = nn.Conv2d(in_channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        out = self.conv2(self.relu(self.bn2(self.conv1(activated))))
        total: Tensor = out + shortcut
        return total


class CifarWideResNet(nn.Module):
    """Stem, three stages of ``blocks`` blocks with strides 1, 2 and 2, average, classifier.

    Input (N, in_chans, H, W), made for 32x32 pixels; output (N, num_classes).
    """

    def __init__(
        self,
        blocks: int,
        stem: int,
        widths: tuple[int, int, int],
        *,
        num_classes: int,
        in_chans: int,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = conv3x3(in_chans, stem)
        self.stages = nn.Sequential()
        channels = stem
        for index, width in enumerate(widths):
            stage = nn.Sequential()
            for number in range(blocks):
                stage.append(WideBlock(channels, width, 2 if index > 0 and number == 0 else 1))
                channels = width
            self.stages.append(stage)
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


@register_model
def wrn16_10_cifar(
    num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0
) -> CifarWideResNet:
    """WRN-16-10 for 32x32 pixels: 17.1 M parameters, 4.56 % error on CIFAR-10."""
    stem, *widths = (scaled(width, width_mult) for width in (16, 160, 320, 640))
    given = (widths[0], widths[1], widths[2])
    return CifarWideResNet(2, stem, given, num_classes=num_classes, in_chans=in_chans)
