"""``lwdna restore``: restore images with a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lwdna.architecture import load
from lwdna.engine.device import make_accelerator
from lwdna.errors import DataError, LwdnaError, ModelError
from lwdna.input_size import describe, only
from lwdna.run_options import RunOptions
from lwdna.tasks.restoration.restore_files import plan_outputs, restore_files
from lwdna.workflows.one_writer import one_writer

_NAMED = 5
"""How many failures the error at the end repeats."""


def restore_images(
    weights: Path,
    images: Sequence[Path],
    out: Path,
    *,
    tile: int = 512,
    ensemble: bool = False,
    options: RunOptions = RunOptions(),
) -> list[Path]:
    """Write restored images as ``out/STEM.png``; one that cannot be read keeps no other back.

    Args:
        weights: a ``.safetensors`` file of a super-resolution or denoising network.
        images: files, or folders of images.
        out: folder for the results.
        tile: larger images are restored in overlapping tiles of this side.
        ensemble: average over the eight mirrored and turned images.
        options: trust; every file written and every failure is said.

    Returns:
        The files written.

    Raises:
        CheckpointError: the file does not hold a network.
        ModelError: the network does not make images out of images.
        DataError: an image would be overwritten; or, after all others have been restored, images
            are missing or damaged, or the network makes nothing of them.
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
    written: list[Path] = []
    failed: list[LwdnaError] = []
    with one_writer(out, options):
        for found in restore_files(
            model,
            size[0],
            planned,
            device=make_accelerator("no").device,
            tile=tile,
            ensemble=ensemble,
        ):
            if isinstance(found, Path):
                written.append(found)
                options.say(str(found))
            else:
                failed.append(found)
                if len(planned) > 1:
                    options.say(f"failed: {found}")
    if failed:
        raise _failure(failed, len(planned))
    return written


def _failure(failed: Sequence[LwdnaError], planned: int) -> LwdnaError:
    if planned == 1:
        return failed[0]
    more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    return DataError(
        f"{len(failed)} of {planned} images could not be restored: "
        f"{'; '.join(map(str, failed[:_NAMED]))}{more}"
    )
