"""Regions of images as training reads them, next to Pillow's."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lwdna.data.gpu_decoding import EncodedTransform, decode_batch
from lwdna.data.image_files import open_content
from lwdna.data.image_transforms import TrainTransform
from lwdna.data.regions import read_region
from lwdna.data.settings import DataSettings, resolve
from lwdna.errors import DataError

BOX = (13, 29, 61, 47)


def photograph(height: int, width: int) -> Image.Image:
    """Return smooth colours with a little noise."""
    generator = np.random.default_rng(7)
    coarse = generator.integers(0, 256, (7, 11, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noise = generator.integers(-3, 4, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def written(image: Image.Image, kind: str, **how: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def expected(content: bytes, box: tuple[int, int, int, int], side: int, mode: str) -> Tensor:
    top, left, height, width = box
    image = Image.open(BytesIO(content)).convert(mode)
    region = image.crop((left, top, left + width, top + height))
    array = np.array(region.resize((side, side), Image.Resampling.BILINEAR)).reshape(side, side, -1)
    return torch.from_numpy(array).permute(2, 0, 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(("mode", "chans"), [("RGB", 3), ("L", 3), ("L", 1)])
def test_regions_are_pillows_but_for_rounding(kind: str, mode: str, chans: int) -> None:
    content = written(photograph(89, 101).convert(mode), kind)
    found = read_region(open_content(content, "it"), BOX, 23, "bilinear", chans, "it")
    assert found.shape == (chans, 23, 23)
    wanted = expected(content, BOX, 23, "RGB" if chans == 3 else "L")
    assert (found.int() - wanted.int()).abs().max() <= 2


def test_large_photographs_are_reduced_while_they_are_decoded() -> None:
    content = written(photograph(809, 1201), "JPEG", quality=95)
    box = (101, 203, 613, 797)
    opened = open_content(content, "it")
    found = read_region(opened, box, 31, "bilinear", 3, "it")
    assert opened.size == (151, 102), "an eighth"
    difference = (found.int() - expected(content, box, 31, "RGB").int()).abs()
    assert difference.float().mean() < 2
    whole = open_content(content, "it")
    read_region(whole, (101, 203, 61, 97), 31, "bilinear", 3, "it")
    assert whole.size == (1201, 809)


def test_turned_photographs_are_cut_upright() -> None:
    exif = Image.Exif()
    exif[274] = 6
    content = written(photograph(89, 101), "JPEG", exif=exif)
    found = read_region(open_content(content, "it"), BOX, 23, "bilinear", 3, "it")
    turned = written(Image.open(BytesIO(content)).transpose(Image.Transpose.ROTATE_270), "PNG")
    assert (found.int() - expected(turned, BOX, 23, "RGB").int()).abs().max() <= 2


def test_a_file_that_ends_early_is_damaged() -> None:
    content = written(photograph(89, 101), "JPEG")
    with pytest.raises(DataError, match="it is damaged"):
        read_region(open_content(content[:-500], "it"), BOX, 23, "bilinear", 3, "it")


class Photographs:
    """Two JPEG files, one of them turned, and a PNG file."""

    labels = np.array([2, 3, 5])

    def __init__(self) -> None:
        exif = Image.Exif()
        exif[274] = 8
        self.files = [
            written(photograph(89, 101), "JPEG"),
            written(photograph(97, 83), "PNG"),
            written(photograph(103, 79), "JPEG", exif=exif),
        ]

    def name(self, index: int) -> str:
        return f"photograph {index}"

    def open(self, index: int) -> Image.Image:
        return open_content(self.files[index], self.name(index))


def test_what_a_gpu_would_decode_is_what_the_processor_decodes_but_for_rounding() -> None:
    images, cpu = Photographs(), torch.device("cpu")
    settings = resolve(DataSettings(image_size=29, decode="gpu"), "folder", 7)
    order = [2, 0, 1, 0]
    batch = EncodedTransform(settings)(images, order, 11, 3)
    assert batch.places.tolist() == [1, 3], "the turned one and the PNG file are decoded before"
    found, targets = decode_batch(batch, settings, cpu)
    wanted = torch.stack(TrainTransform(settings)(images, order, 11, 3))
    assert targets.tolist() == [5, 2, 3, 2]
    assert (found - wanted).abs().max() <= 2
    assert torch.equal(found[1], found[3])
