"""Processes beside the body of a run: their errors are its own, and they end with it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from lwdna.errors import DataError, TrainingError
from lwdna.workflows.jobs import helpers


def act(folder: Path, what: str) -> None:
    """Note what this process is, and do what is asked for."""
    Path(folder, f"{os.getpid()}.pid").write_text(str(torch.get_num_threads()))
    if what == "fail":
        raise DataError("image 7 is damaged")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "wait":
        time.sleep(600)


@pytest.mark.slow
def test_helpers(tmp_path: Path) -> None:
    with helpers(2, act, tmp_path, "fail", threads=1) as failing:
        failing.join()
        with pytest.raises(TrainingError, match=r"one of 2 processes.*image 7 is damaged"):
            failing.check()
    with helpers(3, act, tmp_path, "die", threads=1) as dying:
        dying.join()
        dying.check()
        assert [process.exitcode for process, _ in dying.processes] == [-signal.SIGKILL] * 2
    before = set(tmp_path.iterdir())
    with helpers(2, act, tmp_path, "wait", threads=2) as waiting:
        while not (own := set(tmp_path.iterdir()) - before):
            time.sleep(0.05)
        waiting.check()
    (file,) = own
    assert file.read_text() == "2"
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.stem), 0)
    with helpers(1, act, tmp_path, "fail", threads=1) as none:
        none.join()
        none.check()
