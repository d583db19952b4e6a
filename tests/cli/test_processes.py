"""The installed command as a process of its own, and as several."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import begin

from .command import DIGITS, done

pytestmark = pytest.mark.slow  # every process imports torch

ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
COMMAND = [sys.executable, "-m", "lwdna"]


def launch(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_ctrl_c_then_resume() -> None:
    many = [argument for argument in DIGITS if "epochs" not in argument]
    start = ("train", *many, "train.epochs=5000", "train.warmup_epochs=0", "--out", "run")
    command = begin(*start)
    deadline = time.monotonic() + 120
    while not Path("run/checkpoints/last.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(command.pid, signal.SIGINT)
    code, _, errors = command.end()
    assert code == 130
    assert "Traceback" not in errors
    assert "--resume" in errors.splitlines()[-1]
    epochs = len(Path("run/metrics.jsonl").read_text().splitlines())
    assert 1 <= epochs < 5000


def test_a_fault_is_one_line_and_an_exit_status() -> None:
    found = launch(*COMMAND, "train", "digitz")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "error: there is no recipe digitz; did you mean digits?\n"
    code, _, errors = begin("inspect", "alexnet", "--size", 16).end()
    assert code == 1
    assert len(errors.splitlines()) == 2, "what is being done, and the error"


def test_a_reader_that_leaves_is_no_fault() -> None:
    found = launch("bash", "-c", f"{sys.executable} -m lwdna list | head -1")
    assert found.stdout == "lwdna:densenet40_cifar\n"
    assert "Traceback" not in found.stderr


TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]


def test_two_processes_do_the_job_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(__file__).parents[2])
    monkeypatch.syspath_prepend(root)
    monkeypatch.setitem(ENVIRONMENT, "PYTHONPATH", root)
    # without batch normalisation, whose statistics are each process' own
    given = (*DIGITS, "--model", "python:tests.cli.networks:plain", "--trust-code", "--out")
    done("quickstart", *given, "one")
    found = launch(*TWO, "-m", "lwdna", "quickstart", *given, "two")
    assert found.returncode == 0, found.stderr[-3000:]
    for text in ("training the baseline", "top-1 accuracy", "report: two/report.html"):
        assert found.stdout.count(text) == 1
    assert found.stderr.count("epoch 2/2") == 2, "once per network"
    architecture = "search/architecture.lwdna.json"
    assert Path("two", architecture).read_bytes() == Path("one", architecture).read_bytes()
    one, two = (json.loads(Path(folder, "results.json").read_text()) for folder in ("one", "two"))
    for name in ("baseline", "lwdna"):
        assert two[name].keys() == one[name].keys()
        assert two[name]["val_loss"] == pytest.approx(one[name]["val_loss"], rel=1e-5)
        assert len(Path("two", name, "metrics.jsonl").read_text().splitlines()) == 2
