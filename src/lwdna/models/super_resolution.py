"""Super-resolution networks: features at low resolution, pixel shuffle at the end.

Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR Workshops
2017 (arXiv 1707.02921): EDSR, with the module names of the authors' PyTorch code. Ledig et al.,
"Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network", CVPR 2017
(arXiv 1609.04802): SRResNet.

Images have values from 0 to 1, shape (N, in_chans, H, W); outputs (N, in_chans, scale H, scale W).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lwdna.errors import ModelError
from lwdna.models.registry import register_model

RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K, as EDSR subtracts it."""


class MeanShift(nn.Module):
    """Add a constant colour; not a parameter, so that nothing trains, prunes or redraws it."""

    shift: Tensor

    def __init__(self, colour: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", colour.reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions; what they find is scaled and added to the input."""

    def __init__(
        self, width: int, activation: nn.Module, *, norm: bool = False, scale: float = 1.0
    ) -> None:
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        if norm:
            norms = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
            self.body = nn.Sequential(first, norms[0], activation, second, norms[1])
        else:
            self.body = nn.Sequential(first, activation, second)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(x)
        return x + (found if self.scale == 1 else found * self.scale)


def upsampler(width: int, scale: int, activation: Callable[[], nn.Module] | None) -> nn.Sequential:
    """Return convolutions with pixel shuffles that enlarge by 2, 3 or 4 (twice by 2).

    Raises:
        ModelError: another scale.
    """
    if scale not in (2, 3, 4):
        raise ModelError(f"scale is {scale}; choose 2, 3 or 4")
    factors = (2, 2) if scale == 4 else (scale,)
    layers: list[nn.Module] = []
    for factor in factors:
        layers += [nn.Conv2d(width, width * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
        if activation is not None:
            layers.append(activation())
    return nn.Sequential(*layers)


class EDSR(nn.Module):
    """Head, residual blocks without normalisation under one long skip, upsampler.

    Args:
        scale: 2, 3 or 4.
        in_chans: image channels; the mean colour is subtracted from 3, its average from others.
        blocks: number of residual blocks.
        width: channels.
        res_scale: factor of every block's residual.
        rgb_range: the network works on values from 0 to this, as the authors' weights expect.
    """

    def __init__(
        self,
        scale: int,
        in_chans: int,
        blocks: int,
        width: int,
        res_scale: float,
        rgb_range: float,
    ) -> None:
        super().__init__()
        mean = torch.tensor(RGB_MEAN) * rgb_range
        if in_chans != 3:
            mean = mean.mean().expand(in_chans)
        self.rgb_range = rgb_range
        self.sub_mean = MeanShift(-mean)
        self.head = nn.Sequential(nn.Conv2d(in_chans, width, 3, padding=1))
        self.body = nn.Sequential(
            *(ResidualBlock(width, nn.ReLU(inplace=True), scale=res_scale) for _ in range(blocks)),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.tail = nn.Sequential(
            upsampler(width, scale, None), nn.Conv2d(width, in_chans, 3, padding=1)
        )
        self.add_mean = MeanShift(mean.clone())

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.sub_mean(x * self.rgb_range))
        x = x + self.body(x)
        restored: Tensor = self.add_mean(self.tail(x)) / self.rgb_range
        return restored


class SRResNet(nn.Module):
    """Residual blocks with batch normalisation and PReLU under one long skip, upsampler.

    Args:
        scale: 2, 3 or 4.
        in_chans: image channels.
        blocks: number of residual blocks.
        width: channels.
        tail_kernel: kernel of the last convolution.
    """

    def __init__(
        self, scale: int, in_chans: int, blocks: int, width: int, tail_kernel: int
    ) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(in_chans, width, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(
            *(ResidualBlock(width, nn.PReLU(), norm=True) for _ in range(blocks)),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
        )
        self.tail = nn.Sequential(
            upsampler(width, scale, nn.PReLU),
            nn.Conv2d(width, in_chans, tail_kernel, padding=tail_kernel // 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        restored: Tensor = self.tail(x + self.body(x))
        return restored


@register_model
def edsr_baseline(
    scale: int = 2,
    in_chans: int = 3,
    blocks: int = 16,
    width: int = 64,
    res_scale: float = 1.0,
    rgb_range: float = 255.0,
) -> EDSR:
    """EDSR's baseline: 1.37 M parameters at x2, 37.99 dB on Set5 x2 in the authors' tables."""
    return EDSR(scale, in_chans, blocks, width, res_scale, rgb_range)


@register_model
def edsr(
    scale: int = 2,
    in_chans: int = 3,
    blocks: int = 32,
    width: int = 256,
    res_scale: float = 0.1,
    rgb_range: float = 255.0,
) -> EDSR:
    """EDSR: 40.7 M parameters at x2, 38.11 dB on Set5 x2 in the paper."""
    return EDSR(scale, in_chans, blocks, width, res_scale, rgb_range)


@register_model
def srresnet(
    scale: int = 4, in_chans: int = 3, blocks: int = 16, width: int = 64, tail_kernel: int = 3
) -> SRResNet:
    """SRResNet: 1.54 M parameters at x4.

    The last convolution is 3x3 as in the experiments of DHP and LW-DNA; the paper's has
    ``tail_kernel=9``.
    """
    return SRResNet(scale, in_chans, blocks, width, tail_kernel)
