"""Cells as jobs of submitit, whose local executor stands for Slurm."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

pytest.importorskip("submitit")

from cli.command import fault
from lwdna.errors import FileError
from lwdna.workflows.executors.slurm import slurm
from lwdna.workflows.queue import work_through
from small_job import Small

pytestmark = pytest.mark.cluster


def finish(job: Small, name: str) -> str | None:
    """Finish at the second try what is killed, or finds no space, at the first."""
    if job.title != "a" and not (job.folder / "tried").exists():
        (job.folder / "tried").touch()
        if job.title == "killed":
            signal.raise_signal(signal.SIGKILL)
        raise FileError("no space")
    (job.folder / "done").write_text(f"{name} {Path.cwd()}")
    return None


def test_jobs_that_are_lost_are_handed_in_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path(__file__).parents[2]
    places = [str(root), str(root / "tests"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))  # where jobs find this file
    jobs = [Small(tmp_path / name) for name in ("a", "killed", "full")]
    with slurm(tmp_path / "slurm", None, "local") as cluster:
        left = work_through(jobs, finish, cluster)
    assert (left.held, left.faults) == ([], [])
    said = [(job.folder / "done").read_text() for job in jobs]
    assert said == [f"cell {n} of 3: {job.title} {tmp_path}" for n, job in enumerate(jobs, 1)]


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = fault("compare", "digits", "--executor", "slurm", "--out", tmp_path / "study")
    assert "there is no sbatch here" in line
    assert not (tmp_path / "study").exists()
