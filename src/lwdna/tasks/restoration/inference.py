"""Restore whole images: in tiles where they are large, averaged over symmetries if asked to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_ALIGN = 32
"""Tiles begin at multiples of this, which networks that shrink up to 32 times inside need."""
_PROBES = (128, 256, 512, 1024)
"""Sides of the images on which the reach of a network is measured."""
_NEGLIGIBLE = 1e-6


class Restorer:
    """Run a restoration network on images of any size.

    Args:
        model: a network in eval mode; (N, C, H, W) to (N, C, s H, s W).
        tile: inputs with a longer side are restored in tiles of this side, which overlap by as
            much as the network looks around. The result is that of the whole image.
        ensemble: average over the eight mirrored and turned inputs.
    """

    def __init__(self, model: nn.Module, *, tile: int, ensemble: bool = False) -> None:
        self._model = model
        self._tile = max(_ALIGN, tile // _ALIGN * _ALIGN)
        self._ensemble = ensemble
        self._reach: int | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the restored images, float32; values may lie beyond 0 to 1."""
        restore = self._tiled if max(images.shape[2:]) > self._tile else self._whole
        return averaged(restore, images) if self._ensemble else restore(images)

    def _whole(self, images: Tensor) -> Tensor:
        restored: Tensor = self._model(images).float()
        return restored

    def _tiled(self, images: Tensor) -> Tensor:
        if self._reach is None:
            self._reach = reach(self._model, images.shape[1], images.device)
        if self._reach >= max(images.shape[2:]):
            return self._whole(images)
        height, width = images.shape[2:]
        overlap, core = self._reach, self._tile
        result: Tensor | None = None
        for top in range(0, height, core):
            for left in range(0, width, core):
                above, before = max(0, top - overlap), max(0, left - overlap)
                bottom, right = min(height, top + core), min(width, left + core)
                part = self._whole(images[:, :, above : bottom + overlap, before : right + overlap])
                if result is None:
                    factor = part.shape[2] // min(height, bottom + overlap)
                    size = (*part.shape[:2], height * factor, width * factor)
                    result = part.new_empty(size)
                inner = part[
                    :,
                    :,
                    (top - above) * factor : (bottom - above) * factor,
                    (left - before) * factor : (right - before) * factor,
                ]
                place = slice(top * factor, bottom * factor), slice(left * factor, right * factor)
                result[:, :, place[0], place[1]] = inner
        assert result is not None
        return result


def averaged(restore: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return the mean of what ``restore`` makes of the eight symmetric versions of ``images``."""
    total: Tensor | float = 0.0
    for symmetry in range(8):
        total = total + undo_symmetry(restore(apply_symmetry(images, symmetry)), symmetry)
    assert isinstance(total, Tensor)
    return total / 8


def apply_symmetry(images: Tensor, symmetry: int) -> Tensor:
    """Turn by 90 degrees ``symmetry % 4`` times, then mirror if ``symmetry`` is 4 or more."""
    turned = torch.rot90(images, symmetry % 4, (-2, -1))
    return turned.flip(-1) if symmetry >= 4 else turned


def undo_symmetry(images: Tensor, symmetry: int) -> Tensor:
    """Undo :func:`apply_symmetry`."""
    mirrored = images.flip(-1) if symmetry >= 4 else images
    return torch.rot90(mirrored, -(symmetry % 4), (-2, -1))


@torch.no_grad()
def reach(model: nn.Module, channels: int, device: torch.device) -> int:
    """Measure how far from a border the result depends on what lies beyond, in input pixels.

    Noise is restored as a whole and from its middle part alone; where the two differ, the network
    looked across the border of the part.

    Returns:
        A multiple of 32 that is no less than the reach, or 1024 if it is larger than 256.
    """
    generator = torch.Generator().manual_seed(0)
    for side in _PROBES:
        images = torch.rand((1, channels, side, side), generator=generator).to(device)
        quarter = side // 4
        inner = slice(quarter, side - quarter)
        part = model(images[:, :, inner, inner]).float()
        factor = part.shape[2] * 2 // side
        inner = slice(quarter * factor, (side - quarter) * factor)
        whole = model(images)[:, :, inner, inner].float()
        differs = (part - whole).abs().amax(dim=(0, 1)) > _NEGLIGIBLE * whole.abs().max()
        inward = torch.arange(len(differs), device=device)
        inward = torch.minimum(inward, inward.flip(0)) // factor + 1
        depth = torch.minimum(inward[:, None], inward[None, :])
        found = int((depth * differs).max().item())
        if found < quarter:
            return -(-found // _ALIGN) * _ALIGN
    return _PROBES[-1]
