"""Restore a user's own image files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lwdna.data.image_files import EXTENSIONS, opacity, open_file, upright
from lwdna.errors import DataError, LwdnaError, ModelError
from lwdna.tasks.restoration.inference import Restorer
from lwdna.tasks.restoration.pictures import write_image
from lwdna.tasks.restoration.store import as_pixels

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
) -> Iterator[Path | LwdnaError]:
    """Restore image files and yield what was written, or why nothing was, one by one.

    A network for grey images restores the channels of a colour image each by itself. An alpha
    channel is kept, enlarged by bicubic interpolation, as is an ICC profile.

    Args:
        model: a restoration network in eval mode.
        channels: of the images that it takes.
        planned: as :func:`plan_outputs` returns them.
        device: where to compute.
        tile: larger images are restored in tiles of this side.
        ensemble: average over the eight mirrored and turned images.

    Raises:
        ModelError: the network does not make images out of images.
        FileError: a result cannot be written.
    """
    model = model.to(device).eval()
    _check_restores(model, channels, device)
    restore = Restorer(model, tile=tile, ensemble=ensemble)
    for source, output in planned:
        try:
            opened = open_file(str(source))
            given = upright(opened, str(source))
            pixels = as_pixels(
                given.convert("L" if channels == 1 and given.mode in _GREY else "RGB")
            )
            image = torch.from_numpy(pixels.copy()).to(device).float().div(255)
            restored = _restored(restore, image, channels, source)
        except (DataError, ModelError) as error:
            yield error
            continue
        write_image(output, restored, opacity(given), opened.info.get("icc_profile"))
        yield output


def _restored(restore: Restorer, image: Tensor, channels: int, source: Path) -> Tensor:
    """Return what a network makes of an image (C, H, W), shape (C, s H, s W).

    Raises:
        ModelError: nothing, as by lack of memory, or values that are not finite.
    """
    try:
        result = restore(image[:, None] if channels == 1 else image[None]).flatten(0, 1)
    except RuntimeError as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the network cannot restore {source} of {image.shape[2]}x{image.shape[1]} pixels "
            f"({why}); if memory is short, lower --tile"
        ) from error
    if not bool(result.isfinite().all()):
        raise ModelError(
            f"what the network makes of {source} is not finite (NaN or inf); its weights may be "
            "damaged, or not be for such images"
        )
    return result


@torch.no_grad()
def _check_restores(model: nn.Module, channels: int, device: torch.device) -> None:
    trial = torch.rand(1, channels, _TRIAL, _TRIAL, device=device)
    found = model(trial)
    if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[1] != channels:
        raise ModelError(
            "the network does not make images out of images; give the run of a restoration task"
        )
