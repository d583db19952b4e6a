"""Random resized crops of JPEG files that are decoded on a GPU, by nvJPEG.

Processes beside the training read the files and draw; the GPU decodes, cuts out and resizes. The
decoder rounds a little differently from libjpeg-turbo, so this is a choice of the recipe's
(``data.decode``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lwdna.data.crops import CropAndFlip, crop_resized
from lwdna.data.image_transforms import open_and_draw
from lwdna.data.images import ImageSet
from lwdna.data.regions import encoded, is_plain_jpeg, read_region
from lwdna.data.settings import ResolvedData
from lwdna.errors import DataError

_AT_ONCE = 2**28
"""Bytes of decoded images that are resized together."""


class EncodedBatch(NamedTuple):
    """A batch before it is decoded. Tensors alone, because it goes from process to process."""

    files: Tensor
    """The JPEG files one behind the other, uint8, shape (bytes,)."""
    lengths: Tensor
    """How many bytes each has, int64, shape (N,)."""
    boxes: Tensor
    """What is cut out of each: top, left, height, width, int64, shape (N, 4)."""
    flips: Tensor
    """Which are mirrored, bool, shape (N,)."""
    places: Tensor
    """Which of the batch they are, int64, shape (N,)."""
    done: Tensor
    """The other images, which are no plain JPEG files: uint8, shape (B - N, C, S, S)."""
    targets: Tensor
    """Classes of all, int64, shape (B,)."""


class EncodedTransform:
    """Training images up to what the GPU does to them."""

    def __init__(self, settings: ResolvedData) -> None:
        self._settings = settings
        self._crop = CropAndFlip(settings)

    def __call__(
        self, images: ImageSet, indices: Sequence[int], seed: int, epoch: int
    ) -> EncodedBatch:
        """Return one batch.

        Raises:
            DataError: an image is missing, or damaged and decoded here.
        """
        chans, side = self._settings.in_chans, self._settings.image_size
        opened, boxes, flips = open_and_draw(self._crop, images, indices, seed, epoch)
        files, places, done = [], [], []
        for place, image in enumerate(opened):
            assert image is not None
            if is_plain_jpeg(image, chans) and image.mode == ("RGB" if chans == 3 else "L"):
                files.append(encoded(image))
                places.append(place)
                continue
            box, name = boxes[place].tolist(), images.name(indices[place])
            pixels = read_region(image, box, side, self._settings.interpolation, chans, name)
            done.append(pixels.flip(2) if flips[place] else pixels)
        return EncodedBatch(
            files=torch.cat(files) if files else torch.empty(0, dtype=torch.uint8),
            lengths=torch.tensor([len(file) for file in files], dtype=torch.int64),
            boxes=boxes[places],
            flips=flips[places],
            places=torch.tensor(places, dtype=torch.int64),
            done=torch.stack(done) if done else torch.empty(0, dtype=torch.uint8),
            targets=torch.from_numpy(images.labels[list(indices)]),
        )


def decode_batch(
    batch: EncodedBatch, settings: ResolvedData, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Decode a batch on a GPU; return images, values 0 to 255, shape (B, C, S, S), and classes.

    Raises:
        DataError: a file is damaged.
    """
    side, chans = settings.image_size, settings.in_chans
    images = torch.empty(len(batch.targets), chans, side, side, device=device)
    if len(batch.lengths):
        # only where it is used: torchvision means to hand its decoders over to another package
        from torchvision.io import ImageReadMode, decode_jpeg

        mode = ImageReadMode.RGB if chans == 3 else ImageReadMode.GRAY
        try:
            decoded = decode_jpeg(list(batch.files.split(batch.lengths.tolist())), mode, device)
        except RuntimeError as error:
            raise DataError(
                f"the GPU cannot decode an image of a batch ({' '.join(str(error).split())[:200]});"
                " data.decode=cpu names it, or reads it"
            ) from error
        boxes, flips = batch.boxes.to(device), batch.flips.to(device)
        images[batch.places.to(device)] = _resized(decoded, boxes, flips, settings)
    if len(batch.done):
        others = torch.ones(len(images), dtype=torch.bool)
        others[batch.places] = False
        images[others.to(device)] = batch.done.to(device).float()
    return images, batch.targets.to(device)


def _resized(
    decoded: Sequence[Tensor], boxes: Tensor, flips: Tensor, settings: ResolvedData
) -> Tensor:
    """Cut a box out of every image of any size and resize it: shape (N, C, S, S)."""
    chans = settings.in_chans
    height, width = (max(image.shape[axis] for image in decoded) for axis in (1, 2))
    together = max(1, _AT_ONCE // (chans * height * width))
    resized = []
    for start in range(0, len(decoded), together):
        part = decoded[start : start + together]
        # what lies beyond an image has no weight in the result
        frames = part[0].new_zeros(len(part), chans, height, width)
        places = [
            frame[:, : image.shape[1], : image.shape[2]]
            for frame, image in zip(frames.unbind(), part, strict=True)
        ]
        torch._foreach_copy_(places, list(part))
        chosen = slice(start, start + together)
        # 11 bits hold every byte; half the memory is half the time
        resized.append(
            crop_resized(
                frames, boxes[chosen], flips[chosen], settings.image_size, settings.interpolation,
                torch.float16 if frames.is_cuda else torch.float32,
            )
        )  # fmt: skip
    return torch.cat(resized).float()
