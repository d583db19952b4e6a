"""Several processes warm up and try widths together as one does alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from search_scenario import main, run

from launch import in_processes


def test_two_processes_search_as_one(tmp_path: Path) -> None:
    in_processes(2, main, tmp_path)
    alone = run(tmp_path / "alone")
    for process in range(2):
        found = json.loads((tmp_path / f"process{process}.json").read_text())
        assert found["widths"] == alone["widths"]
        assert found["tried"] == alone["tried"]
        assert found["losses"] == pytest.approx(alone["losses"], rel=1e-3)
        assert found["weights"] == pytest.approx(alone["weights"], rel=1e-4, abs=1e-6)
        for kind in ("scores", "sparse"):
            for name, scores in found[kind].items():
                assert scores == pytest.approx(alone[kind][name], rel=1e-3, abs=1e-6)
