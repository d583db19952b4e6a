"""The script for plain PyTorch and the notebook run, and what they show is there."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

import lwdna

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_plain_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = runpy.run_path(str(EXAMPLES / "plain_pytorch.py"))
    said = capsys.readouterr().out
    told = re.fullmatch(r"([\d,]+) MACs before, ([\d,]+) after; (\d+) of 297 right\n", said)
    assert told
    before, after, right = (int(number.replace(",", "")) for number in told.groups())
    # by hand: 64 pixels of 9 x 16, 16 of 16 x 9 x 32, 4 of 32 x 9 x 64, and the classes
    assert before == 64 * 144 + 16 * 4608 + 4 * 18432 + 640
    assert 0.4 * before < after <= 0.5 * before
    assert right > 267  # nine of ten
    network, architecture = lwdna.load("digits.safetensors", names["model"])
    assert architecture == names["found"]
    assert sum(one.numel() for one in network.parameters()) == architecture.cost.params


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads((EXAMPLES / "first_run.ipynb").read_text(encoding="utf-8"))["cells"]
    ran = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(ran) > 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in ran)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / "first_run.ipynb", as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", ())]
    shown = [one["data"]["text/html"] for one in outputs if "text/html" in one.get("data", {})]
    graph, found = shown
    assert "Channel graph: 3 groups" in graph
    assert "Architecture: a network of your own" in found
    printed = "".join(one.get("text", "") for one in outputs)
    assert [int(seed) for seed in re.findall(r"seed (\d): baseline", printed)] == [0, 1, 2]
    assert all(float(one) > 50 for one in re.findall(r"(\d+\.\d) %", printed))
    assert re.search(r"difference: [+-]\d+\.\d points", printed)
    assert (tmp_path / "digits.safetensors").is_file()
