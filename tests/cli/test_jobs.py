"""Runs on several processes end as on one, to the bit, and stop together."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch import Running, begin
from lwdna.files import read_json
from lwdna.locks import locked

from .command import DIGITS, done, fault

TRIALS = ("shrink", *DIGITS, "shrink.trials.count=6", "train.epochs=40")
"""Trials that take long enough to be met at work."""


def losses(folder: Path) -> list[Any]:
    trials = read_json(folder / "search.json")["trials"]
    return [(trial["widths"], trial["loss"]) for trial in trials]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline, "a process hangs"
        time.sleep(0.02)


def at_work(folder: Path) -> int:
    """Return how many trials are under way."""
    return len(list(folder.glob("trials/*/checkpoints/last.safetensors")))


def ended(group: int) -> bool:
    """Whether a process group has ended."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The search on one process."""
    folder = tmp_path_factory.mktemp("jobs") / "alone"
    done(*TRIALS, "--out", folder)
    return folder


@pytest.mark.slow
def test_a_search_on_several_processes_stops_as_one_and_finds_the_same(alone: Path) -> None:
    command = begin(*TRIALS, "--jobs", 2, "--out", "several", own_group=True)
    folder = Path("several")
    until(lambda: at_work(folder) == 2 or not command.at_work)
    assert command.at_work, command.end()
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does
    code, _, said = command.end()
    assert code == 130
    assert said.count("error: ") == 1
    assert "lwdna shrink --resume --out several" in said
    until(lambda: ended(command.pid))
    assert at_work(folder) == 2
    assert not (folder / "architecture.lwdna.json").exists()
    again = done("shrink", "--resume", "--out", folder)
    assert "trial 6 of 6: loss" in again
    assert losses(folder) == losses(alone)
    for name in ("architecture.lwdna.json", "data.json", "recipe.yaml"):
        assert (folder / name).read_bytes() == (alone / name).read_bytes()
    left, expected = ({str(f.relative_to(one)) for f in one.rglob("*")} for one in (folder, alone))
    assert left == expected


@pytest.mark.slow
def test_the_same_command_elsewhere_helps(alone: Path) -> None:
    helping: list[Running] = []

    def help_once_begun() -> None:
        until(Path("shared/run.lock").is_file)
        helping.append(begin(*TRIALS, "--out", "shared"))

    elsewhere = threading.Thread(target=help_once_begun, daemon=True)
    elsewhere.start()
    done(*TRIALS, "--out", "shared")
    elsewhere.join()
    (command,) = helping
    code, out, err = command.end()
    assert code == 0, err
    assert "this one helps with its trials" in out
    assert "architecture: shared/architecture.lwdna.json" in out
    assert "training" in err  # the bar of a trial
    assert losses(Path("shared")) == losses(alone)


def test_who_helps_needs_the_same_recipe_and_a_search_that_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done("shrink", *DIGITS, "shrink.trials.count=2", "--out", "run")
    Path("run/architecture.lwdna.json").rename("kept")
    with locked(Path("run/run.lock")):
        line = fault("shrink", *DIGITS, "shrink.trials.count=3", "--out", "run")
        assert "shrink.trials.count was 2 and is now 3" in line

        def ends(_: float) -> None:
            Path("run/run.lock").unlink()

        monkeypatch.setattr(time, "sleep", ends)
        line = fault("shrink", "--resume", "--out", "run")
    assert "was stopped; go on with it: lwdna shrink --resume --out run" in line


@pytest.mark.slow
def test_a_job_and_a_comparison_on_several_processes() -> None:
    job = ("quickstart", *DIGITS, "shrink.trials.count=3")
    study = ("compare", *DIGITS, "--seeds", 2, "--arms", "baseline,random")
    for verb in (job, study):
        done(*verb, "--out", f"{verb[0]}1")
    code, _, err = begin(*job, "--jobs", 2, "--out", "quickstart2").end()
    assert code == 0, err
    said = done(*study, "--jobs", 2, "--out", "compare2")
    assert losses(Path("quickstart2/search")) == losses(Path("quickstart1/search"))
    assert read_json("compare2/results.json") == read_json("compare1/results.json")
    assert "other processes" not in said


def test_jobs_inside_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    from lwdna.workflows import jobs

    class Several:
        num_processes = 2

    monkeypatch.setattr(jobs, "make_accelerator", lambda _: Several)
    line = fault(*TRIALS, "--jobs", 2, "--out", "run")
    assert "--jobs 2 starts processes of its own, but a launcher" in line
