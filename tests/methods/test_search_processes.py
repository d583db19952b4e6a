"""Several processes warm up and try widths together as one does alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from search_scenario import run


@pytest.mark.slow  # three imports of torch at once
def test_two_processes_search_as_one(tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [sys.executable, *launcher, Path(__file__).with_name("search_scenario.py"), tmp_path],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone = run(tmp_path / "alone")
    for process in range(2):
        found = json.loads((tmp_path / f"process{process}.json").read_text())
        assert found["widths"] == alone["widths"]
        assert found["tried"] == alone["tried"]
        assert found["losses"] == pytest.approx(alone["losses"], rel=1e-3)
        assert found["weights"] == pytest.approx(alone["weights"], rel=1e-4, abs=1e-6)
        for name, scores in found["scores"].items():
            assert scores == pytest.approx(alone["scores"][name], rel=1e-3, abs=1e-6)
