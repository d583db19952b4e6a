"""An exported network computes what the network computes."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

import lwdna
from lwdna.cli.app import app
from lwdna.interop import onnx as exporting


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


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "NEEDED", ("no_such_package",))
    with pytest.raises(lwdna.LwdnaError, match="pip install no_such_package"):
        exporting.export_onnx(torch.nn.Identity(), (3, 8, 8), tmp_path / "x.onnx")
