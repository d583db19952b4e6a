"""The scripts in ``examples/`` run as they are, in this process."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import lwdna
from tests.registries import as_before

EXAMPLES = Path(__file__).parents[2] / "examples"
LONGEST = 40


@pytest.fixture
def printed(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """What the script of the test's name prints; it runs in an empty folder."""
    path = EXAMPLES / f"{request.function.__name__.removeprefix('test_')}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) < LONGEST
    monkeypatch.chdir(tmp_path)
    with as_before():
        runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.slow
def test_trace_and_cost(printed: str) -> None:
    costs = [int(n.replace(",", "")) for n in re.findall(r"width: ([\d,]+) MACs", printed)]
    assert costs == sorted(costs, reverse=True)
    assert len(costs) == 3
    assert "outputs (1, 1000)" in printed


@pytest.mark.slow
def test_shrink_your_network(printed: str) -> None:
    architecture = lwdna.Architecture.load("found.safetensors")
    assert architecture.cost.macs <= architecture.baseline.macs / 2
    shares = [float(share) for share in re.findall(r"([\d.]+)% of 389", printed)]
    assert len(shares) == 2
    assert min(shares) > 50  # of ten digits one in ten is chance


@pytest.mark.slow
def test_slim_to_onnx(printed: str) -> None:
    network, architecture = lwdna.load("slim.safetensors")
    assert architecture.cost.macs <= architecture.baseline.macs / 2
    images = torch.randn(3, 1, 8, 8)
    session = onnxruntime.InferenceSession("slim.onnx")
    (answers,) = session.run(None, {"input": images.numpy()})
    with torch.no_grad():
        expected = network.eval()(images).numpy()
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-4)
    assert float(re.findall(r"tuned: ([\d.]+)%", printed)[0]) > 50


@pytest.mark.slow
def test_own_criterion(printed: str) -> None:
    found = dict(re.findall(r"(\S+): [\d,]+ MACs, widths (.*)", printed))
    assert found["snip"] != found["gradient-size"]
    baseline = lwdna.trace(lwdna.create_model("lwdna:resnet20_cifar"), torch.zeros(1, 3, 32, 32))
    for macs in re.findall(r": ([\d,]+) MACs", printed):
        assert int(macs.replace(",", "")) <= baseline.cost().macs / 2


@pytest.mark.slow
def test_own_task(printed: str) -> None:
    assert printed.splitlines()[-1] == "report: runs/focal/report.html"
    recipe = Path("runs/focal/lwdna/recipe.yaml").read_text(encoding="utf-8")
    assert "task: focal" in recipe
    assert "gamma: 1.5" in recipe
