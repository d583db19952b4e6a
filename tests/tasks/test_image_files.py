"""Image files as they are seen: turned by their EXIF data, with 8 bits per value."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lwdna.data.image_files import decode, opacity, open_content, size_of, upright
from lwdna.errors import DataError
from lwdna.tasks.classification import ClassificationSettings, ClassificationTask
from tests.tasks.restoration.sets import CPU, patches
from tests.tasks.restoration.sets import task_of as restoring
from tests.tasks.sets import encoded, eval_all, joined, picture, same, train_all

SIXTEEN = np.linspace(0, 65535, 5 * 7).reshape(5, 7).astype(np.uint16)
"""A ramp from black to white."""
EIGHT = (SIXTEEN >> 8).astype(np.uint8)


def read(content: bytes, in_chans: int = 1) -> np.ndarray:
    return np.asarray(decode(open_content(content, "it"), in_chans, "it"))


def tiff(values: np.ndarray, **tags: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF", **tags)
    return buffer.getvalue()


def png(colour: int, values: np.ndarray, invisible: bytes = b"", late: bytes = b"") -> bytes:
    """A PNG of 16 bits per value, which Pillow writes of grey only, chunk by chunk."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))]
    parts += [chunk(b"tRNS", invisible)] if invisible else []
    parts += [chunk(b"IDAT", zlib.compress(rows))]
    parts += [chunk(b"eXIf", late)] if late else []
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.fromarray(SIXTEEN)),
        tiff(SIXTEEN),
        tiff(SIXTEEN.astype(">u2")),
        tiff(SIXTEEN, compression="tiff_lzw"),
        b"P5 7 5 65535\n" + SIXTEEN.astype(">u2").tobytes(),
        png(0, SIXTEEN),
        png(2, np.stack([SIXTEEN] * 3, axis=2)),
        png(4, np.stack([SIXTEEN, SIXTEEN[::-1]], axis=2)),
        png(6, np.stack([SIXTEEN] * 3 + [SIXTEEN[::-1]], axis=2)),
    ],
    ids=["png", "tiff", "big-endian", "lzw", "pgm", "grey", "rgb", "grey-alpha", "rgb-alpha"],
)
def test_of_sixteen_bits_the_upper_eight_are_kept(content: bytes) -> None:
    assert np.array_equal(read(content), EIGHT)
    assert np.array_equal(read(content, 3), np.stack([EIGHT] * 3, axis=2))


def test_of_twelve_bits_too() -> None:
    """Two values of 12 bits share three bytes: 0xFF0 is the brightest but 15, 0x010 the darkest."""
    whole = bytearray(tiff(np.zeros((1, 2), dtype=np.uint8)))
    place = whole.index(struct.pack("<HHI", 258, 3, 1))  # BitsPerSample, one short
    whole[place + 8 : place + 10] = struct.pack("<H", 12)
    counts = whole.index(struct.pack("<HHI", 279, 4, 1))  # StripByteCounts, one long
    whole[counts + 8 : counts + 12] = struct.pack("<I", 3)
    offset = whole.index(struct.pack("<HHI", 273, 4, 1))  # StripOffsets
    whole[offset + 8 : offset + 12] = struct.pack("<I", len(whole))
    whole += bytes([0xFF, 0x00, 0x10])
    assert read(bytes(whole)).tolist() == [[255, 1]]


def test_white_may_be_zero() -> None:
    assert np.array_equal(read(tiff(SIXTEEN, tiffinfo={262: 0})), 255 - EIGHT)


def test_floating_point_counts_from_black_to_white() -> None:
    found = read(tiff((SIXTEEN / 65535).astype(np.float32)))
    assert np.array_equal(found, np.rint(SIXTEEN / 65535 * 255))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((3, 5), 17.0, dtype=np.float32), "values from 17 to 17, but only 0 .* to 1"),
        (np.full((3, 5), np.nan, dtype=np.float32), "values from nan to nan"),
        (np.full((3, 5), 17, dtype=np.int32), "signed or 32-bit whole numbers"),
    ],
)
def test_what_says_nothing_of_brightness_is_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=f"the image it has .*{message}.*; .*convert it to 8"):
        read(tiff(values))


def test_transparency_of_sixteen_bits() -> None:
    level = int(SIXTEEN[2, 3])
    for content in (
        png(0, SIXTEEN, struct.pack(">H", level)),
        png(2, np.stack([SIXTEEN] * 3, axis=2), struct.pack(">3H", *[level] * 3)),
    ):
        alpha = opacity(upright(open_content(content, "it"), "it"))
        assert alpha is not None
        assert np.array_equal(np.asarray(alpha) == 0, level == SIXTEEN)
        assert np.array_equal(read(content), EIGHT)


def test_every_mode_is_read() -> None:
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "La", "CMYK", "YCbCr", "HSV"):
        for in_chans, wanted in ((1, "L"), (3, "RGB")):
            assert decode(Image.new(mode, (7, 5)), in_chans, "it").mode == wanted
    with pytest.raises(DataError, match="LAB colours; convert it to RGB"):
        decode(Image.new("LAB", (7, 5)), 3, "it")


def stored(seen: Image.Image, orientation: int) -> Image.Image:
    """What a camera stores of what is to be seen; the table is that of EXIF 2.3, tag 274."""
    pixels = np.asarray(seen)
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, 1),
        7: np.rot90(pixels, 2).swapaxes(0, 1),
        8: np.rot90(pixels, -1),
    }[orientation]
    return Image.fromarray(np.ascontiguousarray(turned))


def tagged(image: Image.Image, kind: str, orientation: int) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[274] = orientation
    image.save(buffer, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_images_are_turned_as_they_are_seen(kind: str, orientation: int) -> None:
    seen = Image.fromarray(np.kron(np.arange(6).reshape(2, 3) * 40, np.ones((8, 8))).astype("u1"))
    opened = open_content(tagged(stored(seen, orientation), kind, orientation), "it")
    assert size_of(opened) == (24, 16)
    found = decode(opened, 1, "it")
    assert found.size == (24, 16)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(seen)).max() <= 2 * (kind == "JPEG")


def test_orientation_may_follow_the_pixels_of_a_png() -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = exif.tobytes(8).removeprefix(b"Exif\0\0")
    opened = open_content(png(0, np.rot90(SIXTEEN), late=data), "it")
    assert size_of(opened) == (7, 5)
    assert np.array_equal(np.asarray(decode(opened, 1, "it")), EIGHT)


def test_damaged_exif_data_are_ignored() -> None:
    buffer = io.BytesIO()
    picture(0, (20, 10)).save(buffer, "JPEG", exif=b"Exif\0\0nothing of the kind")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow says so
        opened = open_content(buffer.getvalue(), "it")
        assert size_of(opened) == decode(opened, 3, "it").size == (20, 10)


def pairs_of_folders(root: Path) -> tuple[Path, Path]:
    """The same images, upright and as a camera stores them."""
    for half, start in (("train", 0), ("val", 8)):
        for number in range(4):
            seen = picture(start + number, (40, 24))
            orientation = 5 + number  # these change width and height
            for name in ("upright", "camera"):
                folder = root / name / half / "ant"
                folder.mkdir(parents=True, exist_ok=True)
            seen.save(root / "upright" / half / "ant" / f"{number}.png")
            content = tagged(stored(seen, orientation), "PNG", orientation)
            (root / "camera" / half / "ant" / f"{number}.png").write_bytes(content)
    return root / "upright", root / "camera"


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("crop", ["random-resized", "pad"])
def test_classification_sees_photos_upright(tmp_path: Path, in_memory: bool, crop: str) -> None:
    settings = {"image_size": 16, "workers": 0, "in_memory": in_memory, "augment": {"crop": crop}}
    one, other = (
        ClassificationTask(ClassificationSettings.model_validate({"root": root, **settings}))
        for root in pairs_of_folders(tmp_path)
    )
    assert same(eval_all(one), eval_all(other))
    assert same(train_all(one), train_all(other))


def test_restoration_sees_photos_upright(tmp_path: Path) -> None:
    roots = pairs_of_folders(tmp_path)
    settings = {"train": ["train/ant"], "val": ["val/ant"], "scale": 2, "patch_size": 16}
    one, other = (restoring(root, patches=5, **settings) for root in roots)
    assert torch.equal(patches(one, [0, 1, 2, 3, 4])[1], patches(other, [0, 1, 2, 3, 4])[1])
    pairs = zip(
        *(next(iter(task.eval_batches([[0, 1, 2, 3]], device=CPU))) for task in (one, other)),
        strict=True,
    )
    for upright_one, turned in pairs:
        assert upright_one.target.shape == (1, 3, 24, 40)
        assert torch.equal(upright_one.target, turned.target)
        assert torch.equal(upright_one.given, turned.given)


def test_a_ramp_is_a_ramp_for_classification(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 1024).reshape(32, 32).astype(np.uint16)
    for half in ("train", "val"):
        (tmp_path / half / "ant").mkdir(parents=True)
        Image.fromarray(ramp).save(tmp_path / half / "ant" / "0.png")
    settings = {"root": tmp_path, "image_size": 32, "crop_pct": 1.0, "in_chans": 1, "workers": 0}
    task = ClassificationTask(
        ClassificationSettings.model_validate({**settings, "mean": [0], "std": [1]})
    )
    images, _ = joined(eval_all(task))
    assert np.array_equal((images[0, 0] * 255).round().numpy(), ramp >> 8)


@pytest.mark.parametrize("what", ["memory_batches", "restoration"])
def test_what_was_decoded_otherwise_is_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    upright_ones, _ = pairs_of_folders(tmp_path)
    monkeypatch.setattr("lwdna.data.cache.MIN_SECONDS", 0.0)
    cache = tmp_path / "kept"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))

    def use() -> int:
        if what == "restoration":
            folders = {"train": ["train/ant"], "val": ["val/ant"]}
            restoring(upright_ones, noise=3, patch_size=16, in_memory=False, **folders)
        else:
            settings = {"root": upright_ones, "image_size": 16, "in_memory": True, "workers": 0}
            eval_all(ClassificationTask(ClassificationSettings.model_validate(settings)))
        return len(list((cache / "lwdna").iterdir()))

    before = use()
    assert use() == before
    module = "tasks.restoration.store" if what == "restoration" else f"data.{what}"
    monkeypatch.setattr(f"lwdna.{module}.DECODING", 77)
    assert use() == 2 * before
