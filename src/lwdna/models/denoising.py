"""Denoising networks of the DHP and LW-DNA experiments.

Zhang et al., "Beyond a Gaussian Denoiser", IEEE TIP 2017 (arXiv 1608.03981): DnCNN. Ronneberger et
al., "U-Net", MICCAI 2015 (arXiv 1505.04597), with padded convolutions.

Images have values from 0 to 1, shape (N, in_chans, H, W), and so have the outputs.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lwdna.models.registry import register_model


class DnCNN(nn.Module):
    """A chain of 3x3 convolutions that finds the noise, which is then subtracted.

    Args:
        depth: number of convolutions; all but the first and the last are normalised.
        in_chans: image channels.
        width: channels.
    """

    def __init__(self, depth: int, in_chans: int, width: int) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(in_chans, width, 3, padding=1), nn.ReLU(inplace=True))
        self.body = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(width, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                )
                for _ in range(depth - 2)
            )
        )
        self.tail = nn.Conv2d(width, in_chans, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        noise: Tensor = self.tail(self.body(self.head(x)))
        return x - noise


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each rectified."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))))


class UpStep(nn.Module):
    """A transposed convolution doubles the size; what the encoder had there is joined."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.upconv = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        self.convs = DoubleConv(2 * out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        joined: Tensor = self.convs(torch.cat([self.upconv(x), skip], dim=1))
        return joined


class UNet(nn.Module):
    """Encoder with max-pooling, decoder with transposed convolutions, joined at every size.

    Images of any size: they are padded by repeated border pixels to a multiple of the coarsest
    step, and cropped afterwards.

    Args:
        in_chans: image channels.
        width: channels at the first size; every following size has twice as many.
        depth: number of sizes.
    """

    def __init__(self, in_chans: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        self.step = 2 ** (depth - 1)
        self.down = nn.ModuleList(
            DoubleConv(before, after) for before, after in pairwise([in_chans, *widths])
        )
        self.up = nn.ModuleList(
            UpStep(deeper, shallower) for shallower, deeper in reversed(list(pairwise(widths)))
        )
        self.tail = nn.Conv2d(width, in_chans, 1)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw convolutions as Glorot and Bengio do, biases zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.step, 0, -height % self.step), mode="replicate")
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = block(x, skip)
        restored: Tensor = self.tail(x)
        return restored[:, :, :height, :width]


@register_model
def dncnn17(in_chans: int = 1, width: int = 64, depth: int = 17) -> DnCNN:
    """DnCNN for one level of noise: 0.56 M parameters, 29.23 dB on BSD68 at noise 25."""
    return DnCNN(depth, in_chans, width)


@register_model
def dncnn20(in_chans: int = 3, width: int = 64, depth: int = 20) -> DnCNN:
    """DnCNN as the paper has it for colour images and for unknown levels of noise."""
    return DnCNN(depth, in_chans, width)


@register_model
def unet_denoise(in_chans: int = 1, width: int = 32, depth: int = 5) -> UNet:
    """The U-Net of the DHP and LW-DNA experiments: five sizes, 7.76 M parameters for grey."""
    return UNet(in_chans, width, depth)
