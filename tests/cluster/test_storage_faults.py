"""Trainings whose storage fails, and whose machine dies: they end as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import pytest

from lwdna.engine.log import read_metrics
from lwdna.engine.signals import TrainingInterrupted
from lwdna.errors import CheckpointError, FileError
from lwdna.files import read_json
from lwdna.recipe import Recipe, load_recipe
from lwdna.tasks.classification import ClassificationTask
from lwdna.workflows import run_training, stored_run
from lwdna.workflows.storing.manifest import read_manifest
from lwdna.workflows.storing.upload import Pace
from tests.cli.command import DIGITS
from tests.storages import Flaky

pytestmark = pytest.mark.cluster
FAST = Pace(every=0.02, stall=0.5, first_wait=0.01, longest_wait=0.1, give_up=20.0)
OVERRIDES = (*DIGITS[1:], "train.epochs=6", "train.checkpoint_every=1")
STEPS = 4 * 6


def recipe() -> Recipe:
    return load_recipe(DIGITS[0], OVERRIDES)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    run_training(recipe(), folder)
    return folder


def assert_same_run(folder: Path, other: Path) -> None:
    for name in ("model.safetensors", "outcomes.safetensors", "checkpoints/best.safetensors"):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    one, two = (read_json(run / "results.json") for run in (folder, other))
    assert [one[key] for key in ("top1", "val_loss")] == [two[key] for key in ("top1", "val_loss")]
    lines = [
        [(line["epoch"], line["step"], line["train_loss"]) for line in read_metrics(run)]
        for run in (folder, other)
    ]
    assert [epoch for epoch, *_ in lines[1]] == [1, 2, 3, 4, 5, 6], "nothing lost, nothing twice"
    assert lines[0] == lines[1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_storage_whose_writes_fail_and_stall(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The run is stopped twice in the middle of an epoch, and moves each time."""
    Flaky.reset(seed, share=0.0, stall=0.7)
    url, calls, stops = "flaky://bucket/run", 0, {7, 18}
    loss = ClassificationTask.loss

    def stopping(self: ClassificationTask, model: Any, batch: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in stops:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(self, model, batch)

    monkeypatch.setattr(ClassificationTask, "loss", stopping)
    for number in range(3):
        Flaky.share = 0.0  # a start that fails would be an error at once
        with stored_run(url, tmp_path / str(number), pace=FAST) as folder:
            Flaky.share = 0.25
            try:
                run_training(recipe(), folder, resume=number > 0)
            except TrainingInterrupted:
                assert number < 2
    assert calls == STEPS, "no step is done twice"
    assert Flaky.failed > 5
    Flaky.share = 0.0
    with stored_run(url, tmp_path / "end", pace=FAST) as folder:
        assert_same_run(undisturbed, folder)


PROGRAM = """
import sys
from lwdna.recipe import load_recipe
from lwdna.workflows import run_training, stored_run
from lwdna.workflows.storing.upload import Pace
url, folder, *overrides = sys.argv[1:]
with stored_run(url, folder, pace=Pace(every=0.02)) as run:
    run_training(load_recipe("digits", overrides), run, resume=(run / "recipe.yaml").exists())
"""


def test_a_machine_that_dies(undisturbed: Path, tmp_path: Path) -> None:
    """Killed without a chance to clean up, each time later; each time it goes on elsewhere."""
    url, last = f"file://{tmp_path}/storage/run", "checkpoints/last.safetensors"
    killed = 0
    for number in range(2):
        before = read_manifest(url).generation
        command = [sys.executable, "-c", PROGRAM, url, str(tmp_path / str(number)), *OVERRIDES]
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(CheckpointError, FileError):  # it is written at this very moment
                manifest = read_manifest(url)
                if manifest.generation > before + 6 and last in manifest.files:
                    process.kill()
            time.sleep(0.01)
        assert process.wait(10) in (0, -signal.SIGKILL)
        killed += process.returncode != 0
    assert killed
    with stored_run(url, tmp_path / "end") as folder:
        run_training(recipe(), folder, resume=True)
    assert_same_run(undisturbed, folder)
    files, root = fsspec.core.url_to_fs(url)
    names = [name[len(root) + 1 :] for name in files.find(root)]
    assert len([name for name in names if name.startswith(".lwdna/")]) == 1, "the manifest"
