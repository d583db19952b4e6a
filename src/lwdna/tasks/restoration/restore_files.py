"""Restore a user's own image files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lwdna.data.image_files import EXTENSIONS, open_file
from lwdna.errors import DataError, ModelError
from lwdna.tasks.restoration.inference import Restorer
from lwdna.tasks.restoration.pictures import write_image
from lwdna.tasks.restoration.store import read_pixels

_TRIAL = 64
_GREY = ("1", "L", "LA")
"""Pillow's modes of images without colour."""


def plan_outputs(images: Sequence[Path], folder: Path) -> list[tuple[Path, Path]]:
    """Return which image is read and which file is written for it; folders stand for their images.

    Raises:
        DataError: there are no images, or two would be written to one file, or one over itself.
    """
    sources = [
        path
        for given in images
        for path in (
            sorted(p for p in given.iterdir() if p.suffix.lower() in EXTENSIONS)
            if given.is_dir()
            else [given]
        )
    ]
    if not sources:
        raise DataError(f"there are no images in {', '.join(map(str, images))}; name images")
    planned: dict[Path, Path] = {}
    for source in sources:
        output = folder / f"{source.stem}.png"
        if output in planned:
            raise DataError(
                f"{planned[output]} and {source} would both be written to {output}; restore them "
                "one by one into different folders (--out)"
            )
        if output.resolve() == source.resolve():
            raise DataError(f"{source} would be overwritten; choose another folder (--out)")
        planned[output] = source
    return [(source, output) for output, source in planned.items()]


def restore_files(
    model: nn.Module,
    channels: int,
    planned: Sequence[tuple[Path, Path]],
    *,
    device: torch.device,
    tile: int,
    ensemble: bool = False,
) -> Iterator[Path]:
    """Restore image files and yield what was written, one by one.

    A network for grey images restores the channels of a colour image each by itself.

    Args:
        model: a restoration network in eval mode.
        channels: of the images that it takes.
        planned: as :func:`plan_outputs` returns them.
        device: where to compute.
        tile: larger images are restored in tiles of this side.
        ensemble: average over the eight mirrored and turned images.

    Raises:
        ModelError: the network does not make images out of images.
        DataError: an image is missing or damaged.
        FileError: a result cannot be written.
    """
    model = model.to(device).eval()
    _check_restores(model, channels, device)
    restore = Restorer(model, tile=tile, ensemble=ensemble)
    for source, output in planned:
        grey = channels == 1 and open_file(str(source)).mode in _GREY
        pixels = torch.from_numpy(read_pixels(source, 1 if grey else 3).copy())
        image = pixels.to(device).float().div(255)
        batch = image[:, None] if channels == 1 else image[None]
        write_image(output, restore(batch).flatten(0, 1))
        yield output


@torch.no_grad()
def _check_restores(model: nn.Module, channels: int, device: torch.device) -> None:
    trial = torch.rand(1, channels, _TRIAL, _TRIAL, device=device)
    found = model(trial)
    if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[1] != channels:
        raise ModelError(
            "the network does not make images out of images; give the run of a restoration task"
        )
