"""``lwdna restore``: restore images with a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lwdna.architecture import load
from lwdna.engine.device import make_accelerator
from lwdna.errors import ModelError
from lwdna.input_size import describe, only
from lwdna.run_options import RunOptions
from lwdna.tasks.restoration.restore_files import plan_outputs, restore_files
from lwdna.workflows.one_writer import one_writer


def restore_images(
    weights: Path,
    images: Sequence[Path],
    out: Path,
    *,
    tile: int = 512,
    ensemble: bool = False,
    options: RunOptions = RunOptions(),
) -> list[Path]:
    """Write restored images as ``out/STEM.png``.

    Args:
        weights: a ``.safetensors`` file of a super-resolution or denoising network.
        images: files, or folders of images.
        out: folder for the results.
        tile: larger images are restored in overlapping tiles of this side.
        ensemble: average over the eight mirrored and turned images.
        options: trust; every file written is said.

    Returns:
        The files written.

    Raises:
        CheckpointError: the file does not hold a network.
        ModelError: the network does not make images out of images.
        DataError: an image is missing or damaged, or would be overwritten.
        LockedError: another process writes ``out``.
        FileError: a result cannot be written.
    """
    planned = plan_outputs(images, out)
    model, architecture = load(weights, trust_code=options.trust_code)
    size = only(architecture.input_size)
    if size is None:
        raise ModelError(
            f"the network in {weights} takes {describe(architecture.input_size)}, but only a "
            "network that makes images out of single images can restore them"
        )
    written = []
    with one_writer(out, options):
        for path in restore_files(
            model,
            size[0],
            planned,
            device=make_accelerator("no").device,
            tile=tile,
            ensemble=ensemble,
        ):
            written.append(path)
            options.say(str(path))
    return written
