"""Imported weights are used like those of a run: classes and preparation are told or assumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import lwdna as api
from lwdna.architecture import ModelSource
from lwdna.interop.timm_config import preprocessing_of
from lwdna.models import create_model
from lwdna.workflows.imported import interface_of_import, read_classes

from ..tasks.sets import picture
from .command import done, fault, lwdna

NAMES = ("ant", "bee", "crab")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of a network of timm with three classes."""
    folder = tmp_path_factory.mktemp("import")
    torch.manual_seed(5)
    network = create_model("timm:test_resnet", num_classes=3)
    torch.save(network.state_dict(), folder / "state.pth")
    (folder / "names.txt").write_text("ant\n\nbee\n crab\n")
    (folder / "names.json").write_text('["ant", "bee", "crab"]')
    picture(1, (61, 53)).save(folder / "image.png")
    return folder


def imported(state: Path, *given: object) -> tuple[api.Interface, str]:
    """Import the state dict; return what was written down, and what was said."""
    outcome = lwdna(
        "import", "state-dict", state / "state.pth", "--model", "timm:test_resnet", "--size", 41,
        "--out", "in.safetensors", *given,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return api.read_interface("in.safetensors"), outcome.err


def test_predict_takes_what_was_imported(state: Path) -> None:
    interface, said = imported(state, "--classes", state / "names.txt")
    assert interface.classes == NAMES
    assert interface.task == "classification"
    assert said.startswith("note: images are taken to be prepared as for timm:test_resnet: ")
    told = json.loads(
        done("predict", state / "image.png", "--weights", "in.safetensors", "--json", "--top", 3)
    )
    network = create_model("timm:test_resnet", num_classes=3).eval()
    network.load_state_dict(torch.load(state / "state.pth", weights_only=True))
    assert interface.preprocessing
    image = api.prepare(state / "image.png", interface.preprocessing)
    with torch.no_grad():
        want = network(image[None]).softmax(1)[0]
    for guess in told[0]["predictions"]:
        assert guess["class"] == NAMES[guess["index"]]
        assert guess["probability"] == pytest.approx(float(want[guess["index"]]), rel=1e-5)


def test_timms_own_preparation_at_the_size_asked_for(state: Path) -> None:
    interface, _ = imported(state, "--classes", state / "names.json")
    cfg = create_model("timm:test_resnet").pretrained_cfg
    how = interface.preprocessing
    assert how
    assert (how.mean, how.std, how.interpolation) == (
        cfg["mean"], cfg["std"], cfg["interpolation"],
    )  # fmt: skip
    whole = preprocessing_of("timm:test_resnet")
    assert (how.image_size, how.resize) == (41, int(41 * whole.resize / whole.image_size))
    assert whole.resize == int(cfg["input_size"][1] / cfg["crop_pct"])


@pytest.mark.parametrize(
    ("side", "classes", "how"), [(32, 100, "cifar100"), (32, 10, "cifar10"), (41, 100, "imagenet")]
)
def test_other_networks_are_taken_for_those_of_cifar_or_imagenet(
    side: int, classes: int, how: str
) -> None:
    source = ModelSource(name="torchvision:x", args={"num_classes": classes})
    cost = {"macs": 1, "params": 1}
    architecture = api.Architecture(
        model=source, input_size=(3, side, side), widths={"a": 1}, baseline=cost, cost=cost
    )
    interface, notes = interface_of_import(architecture, None, None)
    assert interface.preprocessing
    resize = {32: 32, 41: int(41 * 256 / 224)}[side]
    assert (interface.preprocessing.image_size, interface.preprocessing.resize) == (side, resize)
    assert f"prepared as for {how}: shorter side of {resize} pixels" in notes[-1]


def test_imagenet_names_a_thousand_classes() -> None:
    names = read_classes("imagenet")
    assert len(names) == 1000
    assert names[0].startswith("tench")


def test_another_preparation_and_mere_numbers(state: Path) -> None:
    interface, said = imported(state, "--classes", 3, "--preprocessing", "cifar10")
    assert said == "note: its classes are numbers: name them with --classes FILE\n"
    assert interface.classes is None
    assert interface.preprocessing
    assert interface.preprocessing.mean == (0.4914, 0.4822, 0.4465)
    Path("in.safetensors").rename("other.safetensors")
    again, _ = imported(state, "--classes", 3, "--preprocessing", "other.safetensors")
    assert again.preprocessing == interface.preprocessing


def test_faults(state: Path, tmp_path: Path) -> None:
    base = (
        "import", "state-dict", state / "state.pth", "--model", "timm:test_resnet", "--size", 41,
        "--out", tmp_path / "out.safetensors",
    )  # fmt: skip
    assert "no such" in fault(*base, "--classes", "none.txt").lower()
    (tmp_path / "twice.txt").write_text("ant\nbee\nant\n")
    assert "ant is named twice" in fault(*base, "--classes", tmp_path / "twice.txt")
    (tmp_path / "none.txt").write_text("\n")
    assert "no class is named" in fault(*base, "--classes", tmp_path / "none.txt")
    line = fault(*base, "--classes", 3, "--preprocessing", "cifar11")
    assert "did you mean cifar10" in line
    edsr = fault("import", "edsr", "x.pt", "--out", "y.safetensors", "--classes", 3)
    assert "edsr networks tell no classes" in edsr
    assert not (tmp_path / "out.safetensors").exists()
