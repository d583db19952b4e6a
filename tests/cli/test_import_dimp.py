"""``lwdna import dimp``."""

from __future__ import annotations

from pathlib import Path

import torch

from lwdna import Architecture, load

from ..interop.test_dimp import network, state_of
from ..models.trackers import inputs
from .command import done, fault


def test_a_tracker_is_imported(tmp_path: Path) -> None:
    model = network("basic", (1, 1, 1, 1), 0)
    torch.save({"net": state_of(model)}, "dimp.pth")
    assert "weights: dimp.safetensors" in done(
        *("import", "dimp", "dimp.pth", "--out", "dimp.safetensors", "--size", 64)
    )
    assert Architecture.load("dimp.safetensors").input_size["test_images"] == (1, 3, 64, 64)
    imported, _ = load("dimp.safetensors")
    x = inputs(64)
    with torch.no_grad():
        torch.testing.assert_close(imported.eval()(**x), model(**x), rtol=0, atol=0)
    assert "is not a checkpoint of pytracking" in fault(
        *("import", "dimp", _saved({"state_dict": {}}), "--out", "other.safetensors")
    )


def _saved(content: object) -> str:
    torch.save(content, "other.pth")
    return "other.pth"
