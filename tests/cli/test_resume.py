"""A job that was stopped anywhere goes on as if nothing had happened."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from lwdna.files import read_json
from lwdna.tasks.classification import ClassificationTask
from lwdna.workflows import quickstart, search, steps, training

from .command import DIGITS, at_call, done, lwdna


class Killed(BaseException):
    """Stands for a process that ends without a chance to clean up."""


def kill() -> None:
    raise Killed


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def assert_same_outcome(job: Path, other: Path) -> None:
    for name in ("baseline", "lwdna"):
        first, second = (read_json(folder / "results.json")[name] for folder in (job, other))
        for key in ("top1", "top5", "val_loss", "macs", "params", "file_bytes", "epochs"):
            assert first[key] == second[key], (name, key)
        for file in (f"{name}/model.safetensors", f"{name}/architecture.lwdna.json"):
            assert (job / file).read_bytes() == (other / file).read_bytes(), file
    assert (other / "report.html").is_file()


STEPS = 4 * 2
"""Steps of one training; two more batches before them belong to the search."""


@pytest.mark.parametrize(
    ("owner", "name", "number"),
    [
        (ClassificationTask, "loss", 2),
        (search, "write_json", 1),
        (steps, "run_training", 1),
        (ClassificationTask, "loss", 2 + 2),
        (ClassificationTask, "loss", 2 + 6),
        (training, "save", 1),
        (training, "write_json", 1),
        (steps, "run_training", 2),
        (ClassificationTask, "loss", 2 + STEPS + 6),
        (training, "write_json", 2),
        (quickstart, "write_json", 1),
        (quickstart, "write_report", 1),
    ],
)
def test_a_killed_job_goes_on(
    job: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, at_call(number, getattr(owner, name), kill))
        with pytest.raises(Killed):
            done("quickstart", *DIGITS, "--out", "stopped")
    assert not Path("stopped/report.html").exists()
    printed = done("quickstart", "--resume", "--out", "stopped")
    assert "report: stopped/report.html" in printed
    assert_same_outcome(job, Path("stopped"))


def test_finished_parts_are_not_repeated(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(steps, "run_training", at_call(2, steps.run_training, kill))
        with pytest.raises(Killed):
            done("quickstart", *DIGITS, "--out", "stopped")
    losses: list[None] = []
    loss = ClassificationTask.loss

    def counted(*args: Any) -> Any:
        losses.append(None)
        return loss(*args)

    monkeypatch.setattr(ClassificationTask, "loss", counted)
    done("quickstart", *DIGITS, "--resume", "--out", "stopped")
    assert len(losses) == STEPS, "the network found is trained, nothing else"
    assert_same_outcome(job, Path("stopped"))
    done("quickstart", "--resume", "--out", "stopped")
    assert len(losses) == STEPS, "a finished job is only reported again"


@pytest.mark.parametrize("step", [2, 7])
def test_ctrl_c_saves_and_says_how_to_go_on(
    job: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as patched:
        act = at_call(step, ClassificationTask.loss, interrupt)
        patched.setattr(ClassificationTask, "loss", act)
        outcome = lwdna("train", *DIGITS, "--out", "stopped/baseline")
    assert outcome.code == 130
    last = outcome.err.splitlines()[-1]
    assert last.endswith(": lwdna train --resume --out stopped/baseline")
    assert f"after step {(step - 1) % 4 + 1} of 4" in outcome.err
    assert not Path("stopped/baseline/results.json").exists()
    done("train", "--resume", "--out", "stopped/baseline")
    for file in ("model.safetensors", "architecture.lwdna.json"):
        ours, whole = (folder / "baseline" / file for folder in (Path("stopped"), job))
        assert ours.read_bytes() == whole.read_bytes()


def test_ctrl_c_in_the_search_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    act = at_call(1, ClassificationTask.loss, interrupt)
    monkeypatch.setattr(ClassificationTask, "loss", act)
    outcome = lwdna("shrink", *DIGITS, "--out", "search")
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "error: stopped"
    assert not Path("search").exists()


def test_what_training_does_not_depend_on_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        act = at_call(6, ClassificationTask.loss, interrupt)
        patched.setattr(ClassificationTask, "loss", act)
        assert lwdna("train", *DIGITS, "--out", "run").code == 130
    done("train", "--resume", "--out", "run", "train.eval_batch_size=8")
