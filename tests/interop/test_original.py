"""Checkpoints of the original project and pruned state dicts find their widths."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from typer.testing import CliRunner

import lwdna
from lwdna.cli.app import app
from lwdna.errors import CheckpointError
from lwdna.interop import import_original, import_state_dict, read_state_dict

REFERENCE = (
    Path(os.environ.get("LWDNA_DATA", Path(__file__).parents[3] / "shared" / "data")).parent
    / "reference"
)
needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason=f"no reference checkpoint in {REFERENCE}"
)


@cache
def _narrow(name, seed=0):
    """A torchvision ResNet at random widths with non-trivial running statistics; not to change."""
    model = torchvision.models.get_model(name, num_classes=7)
    graph = lwdna.trace(model, torch.zeros(1, 3, 64, 64))
    generator = torch.Generator().manual_seed(seed)
    widths = {
        group: int(width * (0.1 + 0.1 * torch.rand((), generator=generator)))
        for group, width in graph.widths.items()
    }
    network = lwdna.resize(model, graph, widths, seed=seed)
    for tensor_name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            shift = 0.5 if tensor_name.endswith("var") else -0.5
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + shift)
    return network.eval(), widths


def _original_names(state):
    """torchvision's names in the original project's layout, written out independently."""
    blocks = sorted({tuple(map(int, n[5:].split(".")[:2])) for n in state if n.startswith("layer")})
    names = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "conv1":
            new = "features.0.weight"
        elif parts[0] == "bn1":
            new = f"features.0.bn_main.{parts[1]}"
        elif parts[0] == "fc":
            new = f"classifier.{parts[1]}"
        else:
            number = 2 + blocks.index((int(parts[0][5:]), int(parts[1])))
            if parts[2] == "downsample":
                inner = ("downsample.", "downsample.bn_main.")[int(parts[3])] + parts[4]
            else:
                kind = ".bn_main" if parts[2].startswith("bn") else ""
                inner = f"layer{parts[2][-1]}{kind}.{parts[3]}"
            new = f"features.{number}.{inner}"
        names[new] = tensor
    return names


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("layout", ["original", "torchvision"])
def test_widths_and_weights_are_recovered(tmp_path, name, layout):
    network, widths = _narrow(name)
    state = network.state_dict()
    content = _original_names(state) if layout == "original" else dict(state)
    torch.save({"latent_vector_stage0": torch.zeros(5), **content}, tmp_path / "x.pt")
    imported, arch = import_original(tmp_path / "x.pt", (3, 64, 64))
    assert arch.widths == widths
    assert arch.model is not None
    assert arch.model.name == f"torchvision:{name}"
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(imported(images), network(images), rtol=0, atol=0)
    lwdna.save(imported, arch, tmp_path / "x.safetensors")
    loaded, _ = lwdna.load(tmp_path / "x.safetensors")
    torch.testing.assert_close(loaded.eval()(images), network(images), rtol=0, atol=0)


@needs_reference
@pytest.mark.parametrize("file", ["tiny_resnet18.pt", "tiny_resnet18.raw.pt"])
@pytest.mark.parametrize("size", [64, 224])
def test_reference_logits(file, size):
    network, _ = import_original(REFERENCE / file)
    expected = load_file(REFERENCE / "tiny_resnet18.io.safetensors")
    with torch.no_grad():
        logits = network(expected[f"input_{size}"])
        precise = network.double()(expected[f"input_{size}"].double())
    torch.testing.assert_close(logits, expected[f"logits_{size}"], rtol=0, atol=1e-4)
    torch.testing.assert_close(precise, expected[f"logits_{size}_f64"].double(), rtol=0, atol=1e-9)


def test_concatenations_and_grouped_convolutions_find_their_widths():
    short = {"block_config": (3, 3, 2, 2)}  # more layers of a block are all alike
    for name, more in (
        ("timm:densenet121", short),
        ("timm:regnetx_002", {}),
        ("torchvision:squeezenet1_1", {}),
    ):
        args = {"num_classes": 4, **more}
        model = lwdna.create_model(name, **args)
        graph = lwdna.trace(model, torch.zeros(1, 3, 64, 64))
        widths = {g: max(1, w // 2 + i % 3) for i, (g, w) in enumerate(graph.widths.items())}
        state = lwdna.resize(model, graph, widths).state_dict()
        _, arch = import_state_dict(name, state, (3, 64, 64), model_args=args)
        assert arch.widths == widths


def test_the_command_writes_weights_with_their_architecture(tmp_path):
    network, widths = _narrow("resnet18")
    torch.save(_original_names(network.state_dict()), tmp_path / "x.pt")
    out = tmp_path / "x.safetensors"
    result = CliRunner().invoke(
        app, ["import", "original", str(tmp_path / "x.pt"), "--out", str(out), "--size", "64"]
    )
    assert result.exit_code == 0, result.output
    loaded, arch = lwdna.load(out)
    assert arch.widths == widths
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(loaded.eval()(images), network(images), rtol=0, atol=0)


class _Anything:
    pass


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    torch.save({"object": _Anything()}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="unpickles nothing else"):
        read_state_dict(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(b"noise")
    with pytest.raises(CheckpointError, match="damaged"):
        read_state_dict(tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_state_dict(tmp_path / "missing.pt")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="not a network of the original project"):
        import_original(tmp_path / "c.pt")


def test_a_state_dict_of_another_network_names_the_tensor():
    state = torchvision.models.resnet18(num_classes=4).state_dict()
    state["layer1.0.conv2.weight"] = torch.zeros(64, 64, 5, 5)
    with pytest.raises(CheckpointError, match=r"layer1\.0\.conv2\.weight of shape"):
        import_state_dict("torchvision:resnet18", state, (3, 64, 64), model_args={"num_classes": 4})
