"""Real signals at random moments: a short run of the benchmark that sends many."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lwdna.files import read_json

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_runs_that_are_killed_at_random_moments_end_alike(tmp_path: Path) -> None:
    command = [
        sys.executable, ROOT / "benchmarks/kills.py", "--out", tmp_path / "kills.json",
        "--interruptions", "5", "--jobs", "training", "trials",
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = read_json(tmp_path / "kills.json")["table"]["all"]
    assert figures["signals"] >= 5
    assert (figures["other_result"], figures["left_over"]) == (0, 0)
