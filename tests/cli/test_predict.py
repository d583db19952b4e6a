"""Classes of images by what a file of weights says, and the same by its ONNX file alone."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import lwdna as api
from lwdna.data import DataSettings
from lwdna.files import read_json
from lwdna.tasks.classification import ClassificationTask
from lwdna.workflows import predict

from ..tasks.sets import CPU, picture
from .command import PHOTOS, done, fault, lwdna

CLASSES = ("ant", "bee, red", "cat [m]")
SIZES = ((20, 31), (23, 17), (19, 19), (40, 29))
SETTINGS = {"image_size": 16, "resize": 19, "mean": (0.3, 0.41, 0.53), "std": (0.23, 0.29, 0.31)}
PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on images of many sizes, some of which a camera turned; tests leave it alone."""
    folder = tmp_path_factory.mktemp("predict")
    turned = Image.Exif()
    turned[274] = 6
    for place, name in enumerate(CLASSES):
        for half, count in (("train", 8), ("val", 7)):
            (folder / "photos" / half / name).mkdir(parents=True)
            for number in range(count):
                image = picture(100 * place + 10 * len(half) + number, SIZES[number % len(SIZES)])
                path = folder / "photos" / half / name / f"{number}.png"
                image.save(path, exif=turned if number % 3 == 1 else None)
    given = [f"data.{key}={json.dumps(value)}" for key, value in SETTINGS.items()]
    done(
        "train", "images", "--model", "lwdna:resnet8_digits", "--data", folder / "photos",
        *PHOTOS, *given, "train.epochs=4", "--out", folder / "run",
    )  # fmt: skip
    return folder / "run"


def test_it_tells_what_an_evaluation_counts(run: Path) -> None:
    val = run.parent / "photos" / "val"
    right = load_file(run / "outcomes.safetensors")["top1"] > 0
    assert 0 < int(right.sum()) < len(right)
    told = json.loads(done("predict", val, "--weights", run, "--batch-size", "5", "--json"))
    classes = [one["predictions"][0]["class"] for one in told]
    kept = load_file(run / "predictions.safetensors")
    names = sorted({*classes, *(one.name for one in val.iterdir())})
    assert [names[number] for number in kept["chosen"].tolist()] == classes
    shares = [one["predictions"][0]["probability"] for one in told]
    assert kept["probability"].tolist() == pytest.approx(shares, abs=1e-3)  # half precision
    parents = [Path(one["image"]).parent.name for one in told]
    assert [names[number] for number in kept["true"].tolist()] == parents
    assert [one == other for one, other in zip(classes, parents, strict=True)] == right.tolist()
    accuracy = json.loads(done("evaluate", run, "--json"))["top1"]
    correct = sum(map(str.__eq__, classes, parents))
    assert 100 * correct / len(told) == pytest.approx(accuracy, abs=1e-4)


def test_images_are_prepared_as_in_validation(run: Path) -> None:
    task = ClassificationTask(DataSettings(root=run.parent / "photos", workers=0, **SETTINGS))
    ((images, _),) = task.eval_batches([range(task.eval_size)], device=CPU)
    files = sorted((run.parent / "photos" / "val").rglob("*.png"))
    interface = api.read_interface(run / "model.safetensors")
    assert interface.preprocessing is not None
    for file, expected in zip(files, images, strict=True):
        assert torch.equal(api.prepare(file, interface.preprocessing), expected)
    assert interface == api.Interface(
        task="classification",
        classes=CLASSES,
        preprocessing=api.Preprocessing(in_chans=3, interpolation="bilinear", **SETTINGS),
    )
    written = read_json(run / "results.json")["interface"]
    assert api.Interface.model_validate(written) == interface


def test_a_table_of_the_most_probable_and_hidden_images_left_out(run: Path) -> None:
    Path("scans/.trash").mkdir(parents=True)
    picture(1, (50, 20)).save("scans/one.jpg")
    picture(2).save("scans/.two.png")
    picture(3).save("scans/.trash/three.png")
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in done("predict", "scans", "--weights", run, "--top", "9").splitlines()
        if line.startswith("│")
    ]
    assert [row[0] for row in rows] == ["scans/one.jpg", "", ""]
    assert sorted(row[1] for row in rows) == sorted(CLASSES)
    shares = [float(row[2].rstrip("%")) for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_damaged_images_are_named_and_the_others_told(run: Path) -> None:
    Path("scans").mkdir()
    for number in (1, 3):
        picture(number).save(f"scans/{number}.png")
    content = Path("scans/1.png").read_bytes()
    Path("scans/2.png").write_bytes(content[: len(content) // 2])
    outcome = lwdna("predict", "scans", "gone.png", "--weights", run, "--json")
    assert outcome.code == 1
    told = json.loads(outcome.out)
    assert [one["image"] for one in told] == [*(f"scans/{n}.png" for n in (1, 2, 3)), "gone.png"]
    assert ["error" in one for one in told] == [False, True, False, True]
    assert "failed: the image scans/2.png is damaged" in outcome.err
    assert "cannot read the image gone.png: No such file" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("error: 2 of 4 images could not be read")
    assert "scans/2.png is damaged" in fault("predict", "scans/2.png", "--weights", run)
    shutil.rmtree("scans")
    Path("scans").mkdir()
    assert "there are no images in scans" in fault("predict", "scans", "--weights", run)


def test_other_networks_are_refused_in_a_line(run: Path) -> None:
    network, architecture = api.load(run / "model.safetensors")
    picture(1).save("one.png")
    whole = api.read_interface(run / "model.safetensors")
    for change, line in (
        ({"task": "restoration", "preprocessing": None}, "use `lwdna restore ... --weights x.safe"),
        ({"task": "tracking", "preprocessing": None}, "use `lwdna track ... --weights x.safe"),
        ({"task": None, "preprocessing": None}, "does not say how images are prepared"),
        ({"classes": ("ant", "bee")}, "names 2 classes or values, its network has 3 outputs"),
    ):
        api.save(network, architecture, "x.safetensors", whole.model_copy(update=change))
        assert line in fault("predict", "one.png", "--weights", "x.safetensors")
    numbered = whole.model_copy(update={"classes": None})
    api.save(network, architecture, "x.safetensors", numbered)
    (told,) = predict("x.safetensors", ["one.png"], top=2)
    assert [guess.label for guess in told.guesses] == [str(guess.index) for guess in told.guesses]
    next(network.parameters()).data.fill_(torch.nan)
    api.save(network, architecture, "x.safetensors", whole)
    assert "not finite" in fault("predict", "one.png", "--weights", "x.safetensors")
    damaged = {"preprocessing": whole.preprocessing.model_copy(update={"std": (0.0, 1.0, 1.0)})}
    api.save(network, architecture, "x.safetensors", whole.model_copy(update=damaged))
    assert "std must be positive" in fault("predict", "one.png", "--weights", "x.safetensors")


@pytest.mark.slow
def test_the_examples_of_the_page(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They run as they stand, the script for the ONNX file with the answers of ``predict``."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    blocks = [
        compile(text, str(PAGE), "exec", dont_inherit=True)
        for text in BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    ]
    files = sorted((run.parent / "photos" / "val").rglob("*.png"))
    for name in ("model.safetensors", "architecture.lwdna.json"):
        shutil.copy(run / name, name)
    done("export", "model.safetensors", "--onnx", "network.onnx")
    shutil.copy(files[0], "cat.jpg")
    told = predict("model.safetensors", ["cat.jpg", *files])
    batches = [(torch.randn(3, 3, 16, 16), torch.tensor([0, 2, 1]))]
    monkeypatch.setattr(sys, "argv", ["script.py", *map(str, files)])
    printed = []
    for block in blocks:
        capsys.readouterr()
        exec(block, {"__name__": "__docs__", "loader": batches})
        printed.append(capsys.readouterr().out.splitlines())
    single, script, _ = printed
    assert single == [told[0].guesses[0].label]
    assert script == [
        f"{one.image}: {one.guesses[0].label} {one.guesses[0].probability:.1%}" for one in told[1:]
    ]
    _, architecture = api.load("mine.safetensors")
    assert architecture == api.Architecture.load(run / "architecture.lwdna.json")
