"""The whole way for restoration: search, train, compare, evaluate, restore, import."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lwdna.architecture import Architecture, load, save
from lwdna.model_source import ModelSource
from lwdna.models import create_model

from .command import done, fault, lwdna

SMALL = (
    "model.args={blocks: 2, width: 8}",
    "data.patch_size=24",
    "data.patches=24",
    "shrink.batch_size=4",
    "shrink.budget={macs: 0.9}",
    "train.epochs=2",
    "train.batch_size=8",
)


def photo(seed: int, width: int, height: int, mode: str = "RGB") -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def image_sets(root: Path) -> Path:
    for half, start in (("train", 0), ("val", 10)):
        (root / half).mkdir(parents=True)
        for number in range(3):
            photo(start + number, 40 + 2 * number, 34).save(root / half / f"{number}.png")
    return root


def psnr_of_luma(crop: Path, true: Path) -> float:
    """PSNR of two files by their brightness (ITU-R BT.601)."""
    ours, theirs = (
        (np.asarray(Image.open(path), dtype=float) @ (65.481, 128.553, 24.966) / 255 + 16).round()
        for path in (crop, true)
    )
    return float(10 * np.log10(255**2 / ((ours - theirs) ** 2).mean()))


@pytest.fixture(scope="module")
def enlarging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job of super-resolution; tests must not change it."""
    folder = tmp_path_factory.mktemp("job")
    data = image_sets(folder / "data")
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "task: restoration\n"
        "model: {name: edsr_baseline}\n"
        "data: {scale: 2}\n"
        "train: {optimizer: adam, lr: 1.0e-3, weight_decay: 0}\n"
    )
    done("quickstart", recipe, *SMALL, "--data", data, "--out", folder / "run")
    return folder / "run"


def test_a_network_without_logits_is_made_smaller_without_a_teacher(enlarging: Path) -> None:
    given = ("slim.batch_size=4", "slim.tune={epochs: 1}", "--macs", "0.6", "--out", "slim")
    said = done("slim", enlarging / "baseline", *given)
    assert "learns from the data alone" in said
    record = json.loads(Path("slim/slim.json").read_text())
    assert [stage["name"] for stage in record["stages"]] == ["dense", "sliced", "tuned"]
    assert record["stages"][2]["macs"] <= 0.6 * record["stages"][0]["macs"]
    assert "psnr" in record["stages"][2]["metrics"]


def test_a_job_ends_with_a_comparison_and_pictures(enlarging: Path) -> None:
    results = json.loads((enlarging / "results.json").read_text())
    for name in ("baseline", "lwdna"):
        assert results[name]["metric"] == "psnr"
        assert results[name]["psnr"] > 5
        assert 0 < results[name]["ssim"] <= 1
        pictures = {path.name for path in (enlarging / name / "examples").iterdir()}
        assert pictures == {
            f"val-{number}-{kind}.png"
            for number in range(3)
            for kind in ("input", "output", "target")
        } | {"figures.json"}
        for path in (enlarging / name / "examples").glob("*.png"):
            assert Image.open(path).height == 34
        told = json.loads((enlarging / name / "examples" / "figures.json").read_text())["examples"]
        for kind in ("input", "output"):
            crop, true = (f"val-1-{one}.png" for one in (kind, "target"))
            by_hand = psnr_of_luma(*(enlarging / name / "examples" / one for one in (crop, true)))
            assert told["val-1"][kind] == pytest.approx(by_hand, abs=1e-3)
    assert results["lwdna"]["macs"] <= 0.9 * results["baseline"]["macs"]
    html = (enlarging / "report.html").read_text()
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    start = next(place for place, one in enumerate(captions) if one.startswith("input <"))
    titles = ["input", "baseline", "LW-DNA", "ground truth"]
    assert [one.partition(" <")[0] for one in captions[start : start + 4]] == titles
    assert all(" dB" in one for one in captions[start : start + 3])


def test_evaluating_writes_restored_images_beside_the_figures(enlarging: Path) -> None:
    found = json.loads(done("evaluate", enlarging / "lwdna", "--out", "here", "--json"))
    written = json.loads(Path("here/results.json").read_text())
    trained = json.loads((enlarging / "lwdna" / "results.json").read_text())
    assert written["psnr"] == found["psnr"] == pytest.approx(trained["psnr"], abs=1e-4)
    model, _ = load(enlarging / "lwdna" / "model.safetensors")
    for number in range(3):
        image = Image.open(f"here/images/val/{number}.png")
        assert image.size == (40 + 2 * number, 34)
    target = torch.from_numpy(np.asarray(photo(10, 40, 34)).copy()).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(
        target.float(), size=(17, 20), mode="bicubic", antialias=True
    )
    with torch.no_grad():
        restored = model.eval()(small.round().clamp(0, 255) / 255)[0]
    expected = restored.mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    assert np.abs(np.asarray(Image.open("here/images/val/0.png")) - expected.astype(int)).max() <= 1
    ensemble = json.loads(
        done("evaluate", enlarging / "lwdna", "data.self_ensemble=true", "--out", "x8", "--json")
    )
    assert ensemble["psnr"] != found["psnr"]


def test_images_are_enlarged(enlarging: Path) -> None:
    photo(3, 50, 23).save("photo.jpg")
    photo(4, 21, 20, "L").save("grey.png")
    photo(5, 15, 18, "RGBA").save("clear.png")
    weights = enlarging / "lwdna"
    said = done(
        "restore", "photo.jpg", "grey.png", "clear.png", "--weights", weights, "--out", "out"
    )
    assert said.split() == ["out/photo.png", "out/grey.png", "out/clear.png"]
    sizes = {path.name: Image.open(path).size for path in Path("out").iterdir()}
    assert sizes == {"photo.png": (100, 46), "grey.png": (42, 40), "clear.png": (30, 36)}
    whole = np.asarray(Image.open("out/photo.png")).astype(int)
    done("restore", "photo.jpg", "--weights", weights, "--out", "tiles", "--tile", 32)
    assert np.abs(np.asarray(Image.open("tiles/photo.png")) - whole).max() <= 1
    done("restore", "photo.jpg", "--weights", weights, "--out", "x8", "--ensemble")
    assert not np.array_equal(np.asarray(Image.open("x8/photo.png")), whole)


def test_a_photo_is_restored_upright_with_its_colours_and_transparency(enlarging: Path) -> None:
    """A camera's file, transparency in four forms, and 16 bits: as the plain image, and more."""
    from PIL import ImageCms

    weights = enlarging / "lwdna"
    plain = photo(3, 40, 24)
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain.transpose(Image.Transpose.ROTATE_90).save("camera.png", exif=exif, icc_profile=profile)
    plain.save("plain.png")
    hole = Image.new("L", plain.size, 255)
    hole.paste(0, (8, 4, 32, 16))
    clear = plain.copy()
    clear.putalpha(hole)
    clear.save("clear.png")
    plain.convert("L").save("grey.png")
    grey = plain.convert("L")
    grey.putalpha(hole)
    grey.save("grey-clear.png")
    palette = plain.quantize(5)
    palette.save("palette.png", transparency=2)
    deep = np.asarray(plain.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save("deep.png")
    names = ("camera", "plain", "clear", "grey", "grey-clear", "palette", "deep")
    done("restore", *(f"{name}.png" for name in names), "--weights", weights, "--out", "out")
    found = {name: Image.open(f"out/{name}.png") for name in names}
    assert {name: (image.mode, image.size) for name, image in found.items()} == {
        name: ("RGBA" if name in ("clear", "grey-clear", "palette") else "RGB", (80, 48))
        for name in names
    }
    arrays = {name: np.asarray(image).astype(int) for name, image in found.items()}
    assert np.array_equal(arrays["camera"], arrays["plain"])
    assert found["camera"].info["icc_profile"] == profile
    assert 274 not in found["camera"].getexif()
    assert "icc_profile" not in found["plain"].info
    assert np.array_equal(arrays["clear"][..., :3], arrays["plain"])
    assert np.array_equal(arrays["deep"], arrays["grey"])
    assert np.array_equal(arrays["grey-clear"][..., :3], arrays["grey"])
    larger = np.asarray(hole.resize((80, 48), Image.Resampling.BICUBIC))
    for name in ("clear", "grey-clear"):
        assert np.array_equal(arrays[name][..., 3], larger)
    assert set(larger[12:28, 20:60].flatten()) == {0}
    mask = np.where(np.asarray(palette) == 2, 0, 255).astype(np.uint8)
    enlarged = Image.fromarray(mask).resize((80, 48), Image.Resampling.BICUBIC)
    assert np.array_equal(arrays["palette"][..., 3], np.asarray(enlarged))


def test_a_profile_of_other_colours_is_not_kept(enlarging: Path) -> None:
    profile = b"\0" * 16 + b"CMYK" + b"\0" * 200
    photo(3, 20, 22, "CMYK").save("print.jpg", icc_profile=profile)
    done("restore", "print.jpg", "--weights", enlarging / "lwdna")
    assert "icc_profile" not in Image.open("restored/print.png").info


def test_bad_files_keep_no_other_back(enlarging: Path) -> None:
    Path("mixed").mkdir()
    for name, content in (("a.png", b"hello"), ("c.png", b"\x89PNG\r\n\x1a\n"), ("e.jpg", b"")):
        (Path("mixed") / name).write_bytes(content)
    for name in ("b.png", "d.jpg"):
        photo(3, 20, 22).save(Path("mixed") / name)
    outcome = lwdna("restore", "mixed", "gone.png", "--weights", enlarging / "lwdna")
    assert outcome.code == 1
    assert {path.name for path in Path("restored").iterdir()} == {"b.png", "d.png"}
    said = outcome.out.splitlines()
    assert [line for line in said if line.startswith("restored/")] == [
        "restored/b.png", "restored/d.png"
    ]  # fmt: skip
    assert len([line for line in said if line.startswith("failed: ")]) == 4
    assert "error: 4 of 6 images could not be restored: the image mixed/a.png is" in outcome.err
    for name in ("mixed/c.png", "mixed/e.jpg", "gone.png"):
        assert name in outcome.err


SMALL_ONLY = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
    def forward(self, x):
        if x.shape[3] == 30:
            raise RuntimeError("not of 30 columns\\nreally")
        return self.conv(x) / (x.std() > 0.01)

def net(**_):
    return Net()
"""


def test_images_of_which_the_network_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("small_only.py").write_text(SMALL_ONLY)
    monkeypatch.syspath_prepend(tmp_path)
    source = ModelSource(name="python:small_only:net")
    architecture = Architecture.of_baseline(source, (3, 16, 16), True)
    save(architecture.build(seed=0, trust_code=True), architecture, "net.safetensors")
    photo(0, 20, 22).save("a.png")
    photo(0, 30, 22).save("b.png")
    Image.new("RGB", (20, 22)).save("c.png")
    outcome = lwdna(
        "restore", "a.png", "b.png", "c.png", "--weights", "net.safetensors", "--trust-code"
    )
    assert outcome.code == 1
    assert [path.name for path in Path("restored").iterdir()] == ["a.png"]
    assert "the network cannot restore b.png of 30x22 pixels (not of 30 columns);" in outcome.err
    assert "what the network makes of c.png is not finite (NaN or inf)" in outcome.err


def test_noise_is_removed_from_grey_images_and_from_each_colour(tmp_path: Path) -> None:
    data = image_sets(tmp_path / "data")
    arguments = (
        "restoration/dncnn-25-short",
        *SMALL,
        "model.args={depth: 3, width: 6}",
        "data.train=[train]",
        "data.val=[val]",
        "--data",
        data,
    )
    done("shrink", *arguments, "--out", "search")
    done("train", *arguments, "--architecture", "search/architecture.lwdna.json", "--out", "run")
    assert Image.open("run/examples/val-0-output.png").mode == "L"
    done("evaluate", "run")
    assert Path("run/evaluation/images/val/1.png").is_file()
    colour = photo(3, 30, 28)
    colour.save("colour.png")
    done("restore", "colour.png", "--weights", "run")
    restored = np.asarray(Image.open("restored/colour.png"))
    for channel in range(3):
        Image.fromarray(np.asarray(colour)[:, :, channel]).save("channel.png")
        done("restore", "channel.png", "--weights", "run")
        alone = np.asarray(Image.open("restored/channel.png"))
        assert np.abs(alone.astype(int) - restored[:, :, channel]).max() <= 1
    colour.putalpha(colour.getchannel("R"))
    colour.save("clear.png")
    colour.convert("LA").save("grey-clear.png")
    done("restore", "clear.png", "grey-clear.png", "--weights", "run")
    clear = Image.open("restored/clear.png")
    assert (clear.mode, Image.open("restored/grey-clear.png").mode) == ("RGBA", "LA")
    assert np.array_equal(np.asarray(clear)[..., :3], restored)
    for image in (clear, Image.open("restored/grey-clear.png")):
        assert np.array_equal(np.asarray(image)[..., -1], np.asarray(colour)[..., 3])


def test_restoring_the_wrong_thing(enlarging: Path, job: Path) -> None:
    weights = enlarging / "lwdna"
    photo(0, 20, 20).save("a.png")
    assert "no run or file nowhere" in fault("restore", "a.png", "--weights", "nowhere")
    assert "cannot read the image b.png" in fault("restore", "b.png", "--weights", weights)
    Path("text.png").write_text("hello")
    assert "text.png is damaged" in fault("restore", "text.png", "--weights", weights)
    assert "would be overwritten" in fault("restore", "a.png", "--weights", weights, "--out", ".")
    photo(0, 20, 20).save("a.jpg")
    assert "would both be written" in fault("restore", "a.png", "a.jpg", "--weights", weights)
    Path("empty").mkdir()
    assert "there are no images" in fault("restore", "empty", "--weights", weights)
    Image.fromarray(np.full((20, 20), 17, dtype=np.int32)).save("deep.tif")
    assert "32-bit whole numbers" in fault("restore", "deep.tif", "--weights", weights)
    message = fault("restore", "a.png", "--weights", job / "baseline")
    assert "does not make images out of images" in message
    assert "enlarges 2 times" in fault("evaluate", weights, "data.scale=3")


def test_a_network_of_another_scale_is_refused(tmp_path: Path) -> None:
    data = image_sets(tmp_path / "data")
    message = fault(
        "train",
        "restoration/edsr-x2-short",
        *SMALL,
        "model.args={blocks: 1, width: 4, scale: 3}",
        "data.train=[train]",
        "data.val=[val]",
        "--data",
        data,
    )
    assert "enlarges 3 times, the recipe asks for 2" in message


def test_an_edsr_checkpoint_is_imported_evaluated_and_used(enlarging: Path, tmp_path: Path) -> None:
    model = create_model("edsr_baseline", scale=2, blocks=1, width=4)
    tensors = {name: value for name, value in model.state_dict().items() if "mean" not in name}
    for name in ("sub_mean", "add_mean"):
        tensors[f"{name}.weight"] = torch.eye(3).reshape(3, 3, 1, 1)
        tensors[f"{name}.bias"] = model.get_buffer(f"{name}.shift").flatten()
    torch.save(tensors, "edsr.pt")
    done("import", "edsr", "edsr.pt", "--out", "edsr.safetensors")
    assert Architecture.load("edsr.safetensors").input_size == (3, 48, 48)
    photo(0, 20, 22).save("a.png")
    done("restore", "a.png", "--weights", "edsr.safetensors")
    assert Image.open("restored/a.png").size == (40, 44)
    recipe = enlarging / "recipe.yaml"
    found = json.loads(done("evaluate", "edsr.safetensors", recipe, "--json", "--out", "e"))
    assert found["psnr"] > 0
