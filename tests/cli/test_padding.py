"""Widths padded in memory: what is written does not show them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lwdna.architecture import load
from lwdna.files import read_json

from .command import DIGITS, done

PADDED = (*DIGITS, "train.pad_channels=8", "shrink.budget={macs: 0.8}")


@pytest.mark.slow
def test_a_job_whose_networks_are_padded() -> None:
    done("quickstart", *PADDED, "distill.teacher=baseline", "distill.similarity=10", "--out", "job")
    results = read_json(Path("job/results.json"))
    for name in ("baseline", "lwdna"):
        network, architecture = load(f"job/{name}/model.safetensors")
        assert architecture.cost.macs == results[name]["macs"]
        assert architecture.cost.params == sum(p.numel() for p in network.parameters())
        again = json.loads(done("evaluate", f"job/{name}", "--json"))
        assert again["top1"] == results[name]["top1"]
        assert again["val_loss"] == pytest.approx(results[name]["val_loss"], rel=1e-4)
    odd = [width for width in architecture.widths.values() if width % 8]
    assert len(odd) > 1
    assert len(results["lwdna"]["padding"]["padded"]) == len(odd)
    assert results["lwdna"]["padding"]["left"] == {}


def test_trials_are_padded_and_find_the_same() -> None:
    for name, multiple in (("plain", "null"), ("padded", "8")):
        given = (*DIGITS, f"train.pad_channels={multiple}", "shrink.trials.count=2")
        done("shrink", *given, "--out", name)
    one, two = (read_json(Path(name) / "search.json")["trials"] for name in ("plain", "padded"))
    assert [trial["widths"] for trial in one] == [trial["widths"] for trial in two]
    assert [trial["loss"] for trial in one] == pytest.approx([t["loss"] for t in two], rel=1e-3)
