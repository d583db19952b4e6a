"""PSNR and SSIM as the field's tables have them."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

_LUMA = (65.481, 128.553, 24.966)
"""ITU-R BT.601, for RGB values from 0 to 1 and a luma from 16 to 235."""

PSNR_LIMIT = 60.0
"""Decibels that no PSNR exceeds, as Netflix's VMAF has it for 8 bits. That of an image restored
exactly would be infinite, and the mean over the set with it."""

SSIM_WINDOW = 11
"""Side in pixels of what SSIM looks at."""


def luma(images: Tensor) -> Tensor:
    """Return the Y channel as MATLAB's rgb2ycbcr gives it for 8-bit images.

    Args:
        images: RGB, values from 0 to 1, shape (N, 3, H, W).

    Returns:
        Whole numbers from 16 to 235, shape (N, 1, H, W).
    """
    weights = torch.tensor(_LUMA, device=images.device, dtype=images.dtype)
    weighted = torch.einsum("nchw,c->nhw", images, weights)
    return (weighted + 16).round()[:, None]


def psnr(restored: Tensor, target: Tensor, *, border: int, on_luma: bool) -> Tensor:
    """Compare a restored image with the true one after rounding both to 256 levels.

    Args:
        restored: values from 0 to 1 (what lies beyond is cut off), shape (1, C, H, W).
        target: the same shape.
        border: pixels left out on every side.
        on_luma: compare the Y channels of colour images, as papers on super-resolution do;
            otherwise all channels count alike.

    Returns:
        The peak signal-to-noise ratio in dB, a scalar, at most :data:`PSNR_LIMIT`.
    """
    ours, true = (_comparable(image, border, on_luma) for image in (restored, target))
    return peak_signal_noise_ratio(ours, true, data_range=255.0).clamp(max=PSNR_LIMIT)


def ssim(restored: Tensor, target: Tensor, *, border: int, on_luma: bool) -> Tensor:
    """Return the structural similarity of Wang et al. 2004, a scalar; see :func:`psnr`.

    The Gaussian window of 11 pixels is used where it lies inside the image.
    """
    pair = (_comparable(image, border, on_luma) for image in (restored, target))
    # the variances of bright, even images are differences of large numbers; Apple's GPUs have
    # single precision only
    ours, true = ((one.cpu() if one.device.type == "mps" else one).double() for one in pair)
    _, places = structural_similarity_index_measure(
        ours, true, data_range=255.0, return_full_image=True
    )
    half = SSIM_WINDOW // 2  # torchmetrics mirrors the image beyond its border
    return places[:, :, half:-half, half:-half].mean().to(restored)


def _comparable(image: Tensor, border: int, on_luma: bool) -> Tensor:
    levels = image.mul(255).round().clamp(0, 255)
    if on_luma and image.shape[1] == 3:
        levels = luma(levels / 255)
    height, width = levels.shape[2:]
    return levels[:, :, border : height - border, border : width - border]
