"""An exported network computes what the network computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import lwdna
from lwdna.cli.app import app
from lwdna.interop import onnx as exporting
from lwdna.models import create_model


@pytest.mark.slow
def test_the_command_writes_what_onnxruntime_runs(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    source = lwdna.ModelSource(name="timm:test_resnet", args={"num_classes": 5})
    model = source.create()
    graph = lwdna.trace(model, torch.zeros(1, 3, 32, 32))
    widths = {name: width - 3 for name, width in graph.widths.items()}
    arch = lwdna.Architecture.of(graph, (3, 32, 32), source, widths)
    network = arch.build(seed=0).eval()
    lwdna.save(network, arch, tmp_path / "model.safetensors")
    file = tmp_path / "x.onnx"
    result = CliRunner().invoke(app, ["export", str(tmp_path), "--onnx", str(file)])
    assert result.exit_code == 0, result.output
    assert {one.name for one in tmp_path.iterdir()} == {"model.safetensors", "x.onnx"}
    images = torch.randn(3, 3, 32, 32)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), network(images), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_pairs_of_convolutions_are_exported_and_so_is_what_they_are_merged_to(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    source = lwdna.ModelSource(
        name="lwdna:resnet8_digits", transforms=[{"name": "factorize", "layers": "stages.*"}]
    )
    graph = lwdna.trace(source.create(), torch.zeros(1, 1, 8, 8))
    ranks = {name: 5 for name in graph.widths if name.endswith("conv1.basis")}
    arch = lwdna.Architecture.of(graph, (1, 8, 8), source, ranks)
    network = arch.build(seed=0).eval()
    file, images = tmp_path / "x.onnx", torch.randn(3, 1, 8, 8)
    merged, _ = lwdna.merge(network, arch)
    exporting.export_onnx(merged, (1, 8, 8), file)
    nodes = onnx.load(file).graph.node
    assert sum(node.op_type == "Conv" for node in nodes) == 1 + 3 * 2 + 3
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": images.numpy()})
    with torch.no_grad():
        expected = network(images)
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=0, atol=1e-4)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "NEEDED", ("no_such_package",))
    with pytest.raises(lwdna.LwdnaError, match="pip install no_such_package"):
        exporting.export_onnx(torch.nn.Identity(), (3, 8, 8), tmp_path / "x.onnx")


def answers(file: Path, images: torch.Tensor) -> torch.Tensor:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": images.numpy()})
    return torch.from_numpy(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "args"),
    [
        ("edsr_baseline", (3, 24, 24), {"scale": 3, "blocks": 1, "width": 5}),
        ("dncnn17", (1, 40, 40), {"in_chans": 1, "depth": 3, "width": 5}),
        ("unet_denoise", (1, 32, 32), {"in_chans": 1, "width": 4}),
        ("resnet8_digits", (1, 8, 8), {"num_classes": 5}),
    ],
)
def test_images_of_any_size_are_taken(name, size, args, tmp_path):
    """Also of odd sides, and of one larger and one smaller than in training."""
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    network = create_model(name, **args).eval()
    assert exporting.export_onnx(network, size, tmp_path / "x.onnx") is None
    for batch, height, width in ((1, 37, 29), (3, 17, 61)):
        images = torch.rand(batch, size[0], height, width)
        with torch.no_grad():
            wanted = network(images)
        found = answers(tmp_path / "x.onnx", images)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


class Flat(nn.Module):
    """For images of 12x12 pixels only."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.head = nn.Linear(5 * 12 * 12, 7)

    def forward(self, x):
        return self.head(self.conv(x).flatten(1))


class Decided(Flat):
    """Takes other sizes by a decision in Python, which an exported graph cannot hold."""

    def forward(self, x):
        if x.shape[2:] != (12, 12):
            x = nn.functional.interpolate(x, (12, 12))
        return super().forward(x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "why"), [(Flat, "the network takes no others"), (Decided, "cannot export it for")]
)
def test_a_network_for_one_size_keeps_it_and_says_why(kind, why, tmp_path):
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    network = kind().eval()
    said = exporting.export_onnx(network, (3, 12, 12), tmp_path / "x.onnx")
    assert why in said
    assert "\n" not in said
    for batch in (1, 4):
        images = torch.rand(batch, 3, 12, 12)
        with torch.no_grad():
            wanted = network(images)
        found = answers(tmp_path / "x.onnx", images)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


class Pooled(nn.Module):
    """Adaptive pooling to 6x6: torch writes it for the one size that it saw, and says nothing."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(6)

    def forward(self, x):
        return self.pool(self.conv(x)).flatten(1)


@pytest.mark.slow
def test_what_computes_something_else_at_other_sizes_is_found(tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    said = exporting.export_onnx(Pooled(), (3, 12, 12), tmp_path / "x.onnx")
    assert "others" in said
    assert answers(tmp_path / "x.onnx", torch.rand(4, 3, 12, 12)).shape == (4, 180)
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


@pytest.mark.slow
def test_sizes_that_nothing_can_check_stay_fixed(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(exporting, "CHECKED_BY", "no_such_runtime")
    said = exporting.export_onnx(nn.Conv2d(3, 5, 3), (3, 12, 12), tmp_path / "x.onnx")
    assert "install it: pip install no_such_runtime" in said


def flat(**_):
    return Flat()


@pytest.mark.slow
def test_the_command_says_which_size_is_taken(tmp_path):
    pytest.importorskip("onnxscript")
    source = lwdna.ModelSource(name=f"python:{__name__}:flat")
    arch = lwdna.Architecture.of_baseline(source, (3, 12, 12), True)
    lwdna.save(arch.build(seed=0, trust_code=True), arch, tmp_path / "model.safetensors")
    file = str(tmp_path / "x.onnx")
    result = CliRunner().invoke(app, ["export", str(tmp_path), "--onnx", file, "--trust-code"])
    assert result.exit_code == 0, result.output
    note = result.stdout.splitlines()[-1]
    assert note.startswith("note: it takes inputs of 3x12x12 only: the network takes no others (")
