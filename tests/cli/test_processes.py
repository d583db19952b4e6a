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
    process = subprocess.Popen(
        [*COMMAND, *start], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not Path("run/checkpoints/last.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "--resume" in errors.splitlines()[-1]
    epochs = len(Path("run/metrics.jsonl").read_text().splitlines())
    assert 1 <= epochs < 5000


def test_a_fault_is_one_line_and_an_exit_status() -> None:
    found = launch(*COMMAND, "train", "digitz")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "error: there is no recipe digitz; did you mean digits?\n"
    found = launch(*COMMAND, "inspect", "alexnet", "--size", 16)
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 2, "what is being done, and the error"


def test_a_reader_that_leaves_is_no_fault() -> None:
    found = launch("bash", "-c", f"{sys.executable} -m lwdna list | head -1")
    assert found.stdout == "lwdna:densenet40_cifar\n"
    assert "Traceback" not in found.stderr


LAUNCHERS = {
    "accelerate": ["-m", "accelerate.commands.launch", "--cpu", "--num_processes=2"],
    "torchrun": ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"],
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_do_the_job_of_one(job: Path, launcher: str) -> None:
    start = [sys.executable, *LAUNCHERS[launcher], "-m", "lwdna"]
    found = launch(*start, "quickstart", *DIGITS, "--out", "two")
    assert found.returncode == 0, found.stderr[-3000:]
    assert found.stdout.count("report: two/report.html") == 1
    assert found.stdout.count("training the baseline") == 1
    assert found.stderr.count("epoch 2/2") == 2, "once per network"
    architecture = "search/architecture.lwdna.json"
    assert Path("two", architecture).read_bytes() == (job / architecture).read_bytes()
    one, two = (json.loads((f / "results.json").read_text()) for f in (job, Path("two")))
    for name in ("baseline", "lwdna"):
        assert two[name].keys() == one[name].keys()
        assert two[name]["val_loss"] == pytest.approx(one[name]["val_loss"], rel=0.2)
        lines = Path("two", name, "metrics.jsonl").read_text().splitlines()
        assert len(lines) == 2
    assert "top1" in done("evaluate", "two/lwdna")
    found = launch(*start, "evaluate", "two/lwdna", "--json")
    assert json.loads(found.stdout)["top1"] == two["lwdna"]["top1"]


def test_several_processes_need_a_folder() -> None:
    found = launch(sys.executable, *LAUNCHERS["torchrun"], "-m", "lwdna", "train", *DIGITS)
    assert found.returncode != 0
    assert "error: several processes need to know the folder: name it with --out" in found.stderr
    assert not Path("runs").exists()
