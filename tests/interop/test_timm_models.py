"""Networks found as a model of timm: the same network, with what timm's scripts look for."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import timm
import torch
from timm.data import create_transform, resolve_data_config

import lwdna as api
import lwdna.timm_models
from lwdna.architecture import ModelSource
from lwdna.errors import ArchitectureError, CheckpointError, ModelError

SIZE = (3, 41, 41)
HOW = api.Preprocessing(
    in_chans=3, image_size=41, resize=47, interpolation="bilinear",
    mean=(0.3, 0.41, 0.53), std=(0.23, 0.29, 0.31),
)  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network of seven classes: its architecture, and its weights."""
    folder = tmp_path_factory.mktemp("timm")
    source = ModelSource(name="timm:test_resnet", args={"num_classes": 7})
    graph = api.trace(source.create(), torch.zeros(1, *SIZE))
    widths = {name: width // 2 + 1 for name, width in graph.widths.items()}
    architecture = api.Architecture.of(graph, SIZE, source, widths, {"method": "by hand"})
    network = architecture.build(seed=3)
    architecture.save(folder / "a.lwdna.json")
    interface = api.Interface(classes=tuple("abcdefg"), preprocessing=HOW)
    api.save(network, architecture, folder / "m.safetensors", interface)
    return folder


def images() -> torch.Tensor:
    return torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(1))


def test_timm_builds_it_and_loads_its_weights(found: Path) -> None:
    own, architecture = api.load(found / "m.safetensors")
    want = own.eval()(images())
    for given in (
        {"architecture": found / "m.safetensors", "pretrained": True},
        {"architecture": str(found / "a.lwdna.json"), "checkpoint_path": found / "m.safetensors"},
    ):
        # what timm's train.py says where it is not told otherwise
        network = timm.create_model("lwdna", in_chans=3, drop_rate=0.0, num_classes=None, **given)
        assert torch.equal(network.eval()(images()), want)
        assert network.num_classes == 7
    fresh = timm.create_model("lwdna", architecture=found / "m.safetensors")
    assert sum(one.numel() for one in fresh.parameters()) == architecture.cost.params
    assert not torch.equal(fresh.eval()(images()), want)


def test_timm_prepares_images_as_in_validation(found: Path, tmp_path: Path) -> None:
    from PIL import Image

    network = timm.create_model("lwdna", architecture=found / "m.safetensors")
    config = resolve_data_config({}, model=network)
    assert config["input_size"] == SIZE
    pixels = torch.randint(256, (53, 61, 3), generator=torch.Generator().manual_seed(2))
    image = Image.fromarray(pixels.byte().numpy())
    image.save(tmp_path / "image.png")
    transform = create_transform(**config, is_training=False)
    torch.testing.assert_close(transform(image), api.prepare(tmp_path / "image.png", HOW))
    bare = timm.create_model("lwdna", architecture=found / "a.lwdna.json")
    assert resolve_data_config({}, model=bare)["input_size"] == SIZE


def test_another_number_of_classes_gets_a_fresh_output_layer(found: Path) -> None:
    network = timm.create_model(
        "lwdna", architecture=found / "m.safetensors", pretrained=True, num_classes=11
    )
    assert network.eval()(images()).shape == (2, 11)
    assert network.num_classes == 11
    own = api.load(found / "m.safetensors")[0].state_dict()
    other = {name for name, one in network.state_dict().items() if not torch.equal(one, own[name])}
    assert other == {"fc.weight", "fc.bias"}


def test_networks_that_are_not_timms(tmp_path: Path) -> None:
    source = ModelSource(name="lwdna:resnet8_digits", args={"num_classes": 5, "in_chans": 1})
    architecture = api.Architecture.of_baseline(source, (1, 8, 8))
    architecture.save(tmp_path / "a.json")
    network = timm.create_model(
        "lwdna", architecture=tmp_path / "a.json", drop_rate=0.0, in_chans=1
    )
    assert network.num_classes == 5
    assert network.training
    assert resolve_data_config({}, model=network)["input_size"] == (1, 8, 8)


def test_a_script_of_timms_finds_the_name(
    found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside.py").write_text("NAME = 'lwdna'\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, timm, beside\n"
        "kind, file = sys.argv[1:]\n"
        "assert __name__ == '__main__'\n"
        "network = timm.create_model(beside.NAME, **{kind: file})\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    arguments = [str(script), "architecture", str(found / "a.lwdna.json")]
    monkeypatch.setattr(sys, "argv", ["lwdna.timm_models", *arguments])
    ran = runpy.run_module("lwdna.timm_models", run_name="__main__")
    assert sys.argv == arguments
    monkeypatch.setattr(sys, "argv", ["lwdna.timm_models", "none.py"])
    with pytest.raises(SystemExit, match="name a script that is there"):
        ran["main"]()


def test_faults(found: Path, tmp_path: Path) -> None:
    plain = found / "a.lwdna.json"
    with pytest.raises(ModelError, match="holds no trained weights"):
        timm.create_model("lwdna", architecture=plain, pretrained=True)
    with pytest.raises(ModelError, match="unexpected keyword argument 'depth_of_water'"):
        timm.create_model("lwdna", architecture=plain, depth_of_water=3)
    with pytest.raises(ArchitectureError, match="cannot read architecture"):
        timm.create_model("lwdna", architecture=tmp_path / "none.json")
    graph = api.trace(torch.nn.Conv2d(3, 5, 3), torch.zeros(1, 3, 7, 7))
    api.Architecture.of(graph, (3, 7, 7), None).save(tmp_path / "own.json")
    with pytest.raises(ArchitectureError, match="does not say how to make its baseline"):
        timm.create_model("lwdna", architecture=tmp_path / "own.json")
    own, architecture = api.load(found / "m.safetensors")
    state = own.state_dict()
    state["conv1.0.weight"] = state["conv1.0.weight"][:, :2]
    from lwdna.weights import save_weights

    bad = tmp_path / "bad.safetensors"
    save_weights(bad, state, {"lwdna_architecture": architecture.to_json()})
    with pytest.raises(CheckpointError, match="belongs to another network"):
        timm.create_model("lwdna", architecture=bad, pretrained=True)
