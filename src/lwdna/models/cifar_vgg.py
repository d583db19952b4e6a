"""Plain chains of 3x3 convolutions for CIFAR: no shortcuts, every layer feeds the next one.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015 (arXiv 1409.1556), in the form of Liu et al., "Learning Efficient Convolutional Networks
through Network Slimming", ICCV 2017 (arXiv 1708.06519): batch normalisation after every
convolution, no bias before it, no pooling after the last stage, and one linear layer behind the
average.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lwdna.models.common import conv3x3, initialise, scaled
from lwdna.models.registry import register_model

VGG_WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the five stages of every VGG."""


class CifarVGG(nn.Module):
    """Stages of 3x3 convolutions with halving max-pooling between them, average, classifier.

    Input (N, in_chans, H, W), made for 32x32 pixels; output (N, num_classes).

    Args:
        stages: the widths of the convolutions of each stage.
        num_classes: number of classes.
        in_chans: image channels.
    """

    def __init__(self, stages: Sequence[Sequence[int]], *, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = nn.Sequential()
        channels = in_chans
        for number, widths in enumerate(stages):
            if number > 0:
                self.features.append(nn.MaxPool2d(2))
            for width in widths:
                block = (conv3x3(channels, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
                self.features.extend(block)
                channels = width
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw fresh weights, as :func:`lwdna.models.common.initialise` describes."""
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(self.features(x)).flatten(1))
        return logits


@register_model
def vgg11_cifar(num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0) -> CifarVGG:
    """VGG-11 with batch normalisation: 9.2 M parameters."""
    return _cifar_vgg((1, 1, 2, 2, 2), VGG_WIDTHS, width_mult, num_classes, in_chans)


@register_model
def vgg16_cifar(num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0) -> CifarVGG:
    """VGG-16 with batch normalisation: 14.7 M parameters."""
    return _cifar_vgg((2, 2, 3, 3, 3), VGG_WIDTHS, width_mult, num_classes, in_chans)


@register_model
def vgg19_cifar(num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0) -> CifarVGG:
    """VGG-19 with batch normalisation: 20.04 M parameters, 6.34 % error on CIFAR-10."""
    return _cifar_vgg((2, 2, 4, 4, 4), VGG_WIDTHS, width_mult, num_classes, in_chans)


@register_model
def uniform8_cifar(num_classes: int = 10, in_chans: int = 3, width_mult: float = 1.0) -> CifarVGG:
    """Seven convolutions of 64 channels each and a classifier: a plain network of no paper, whose
    widths nobody chose."""
    return _cifar_vgg((2, 2, 3), (64, 64, 64), width_mult, num_classes, in_chans)


def _cifar_vgg(
    counts: Sequence[int], widths: Sequence[int], width_mult: float, num_classes: int, in_chans: int
) -> CifarVGG:
    stages = [
        [scaled(width, width_mult)] * count for count, width in zip(counts, widths, strict=True)
    ]
    return CifarVGG(stages, num_classes=num_classes, in_chans=in_chans)
