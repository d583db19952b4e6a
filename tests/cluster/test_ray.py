"""Comparisons and searches on a Ray cluster whose parts fail: nothing is lost or done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from cli.command import done, fault
from lwdna.files import read_json
from lwdna.locks import locked

from .nodes import TwoNodes, holder, meanwhile, until

pytestmark = pytest.mark.cluster

STUDY = (
    "digits",
    "data.classes=4",
    "data.train_limit=16",
    "data.val_limit=16",
    "train.epochs=20",
    "train.warmup_epochs=0",
    "train.batch_size=16",
    "--arms",
    "baseline,lwdna,random",
)
SEEDS = 4
CELLS = 3 * SEEDS
SEARCH = (*STUDY[:-2], "shrink.trials.count=6", "train.epochs=100")


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    cluster = TwoNodes()
    before = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_ADDRESS"] = cluster.address
    yield cluster
    os.environ.pop("RAY_ADDRESS") if before is None else os.environ.update(RAY_ADDRESS=before)
    cluster.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparison on this process."""
    folder = tmp_path_factory.mktemp("study") / "local"
    done("compare", *STUDY, "--seeds", SEEDS, "--out", folder)
    return folder


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def on_ray(*arguments: object) -> str:
    return done(*arguments, "--executor", "ray")


def same_results(folder: Path, study: Path, seeds: int = SEEDS) -> bool:
    """Whether a comparison came to the same; of fewer seeds, whether its cells did."""
    if seeds == SEEDS:
        return (folder / "results.json").read_bytes() == (study / "results.json").read_bytes()
    cells = sorted(study.glob(f"cells/*/seed[0-{seeds - 1}]/training"))
    names = ("outcomes.safetensors", "model.safetensors", "architecture.lwdna.json")
    files = [cell.relative_to(study) / name for cell in cells for name in names]
    return all((folder / file).read_bytes() == (study / file).read_bytes() for file in files)


def sittings(folder: Path) -> int:
    """Return how often a training was begun or gone on with: each time leaves a file of events."""
    return len(list(folder.glob("cells/*/*/training/tensorboard/*")))


def under_way(folder: Path, chosen: Callable[[int], object]) -> Path | None:
    """Return a cell that a chosen process trains and has saved."""
    for saved in folder.glob("cells/*/*/training/checkpoints/last.safetensors"):
        cell = saved.parents[2]
        if not (cell / "training/results.json").exists() and chosen(holder(cell / "claim.lock")):
            return cell
    return None


def files(folder: Path) -> set[str]:
    names = {str(file.relative_to(folder)) for file in folder.rglob("*")}
    return {name for name in names if "tensorboard/" not in name}


def test_a_node_is_killed_twice_in_the_middle_of_a_comparison(nodes: TwoNodes, study: Path) -> None:
    met: list[Path] = []

    def kill_twice() -> None:
        for _ in range(2):
            met.append(until(lambda: under_way(Path("study"), nodes.on_second)))
            nodes.kill()
            nodes.join()

    with meanwhile(kill_twice):
        said = on_ray("compare", *STUDY, "--seeds", SEEDS, "--out", "study")
    assert len(met) == 2
    assert said.count("finished: ") == CELLS
    assert same_results(Path("study"), study)
    assert files(Path("study")) == files(study)
    assert CELLS < sittings(Path("study")) <= CELLS + 2


def test_a_worker_is_killed_and_two_drivers_share_a_folder(nodes: TwoNodes, study: Path) -> None:
    def kill_a_worker() -> None:
        cell = until(lambda: under_way(Path("shared"), bool))
        os.kill(holder(cell / "claim.lock"), signal.SIGKILL)  # as the system does if memory is out

    command = ("compare", *STUDY, "--seeds", 2, "--out", "shared")
    other = subprocess.Popen(
        [sys.executable, "-m", "lwdna", *map(str, command), "--executor", "ray"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with meanwhile(kill_a_worker):
        said = on_ray(*command)
    also, _ = other.communicate(timeout=120)
    assert other.returncode == 0, also
    assert said.count("finished: ") + also.count("finished: ") == 6
    assert same_results(Path("shared"), study, seeds=2)
    assert sittings(Path("shared")) == 7
    assert not list(Path("shared").rglob("*.lock"))


FULL = """
import errno, os
real = os.mkdir
def mkdir(path, *given, **more):
    if "full/cells" in os.path.abspath(path):
        open({log!r}, "a").write("x")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    return real(path, *given, **more)
os.mkdir = mkdir
"""
"""Of the second node's Python: no folder can be made below that of the comparison."""


def test_a_full_disk_on_one_node_and_a_cell_that_fails_by_itself(
    nodes: TwoNodes, study: Path, tmp_path: Path
) -> None:
    (tmp_path / "patch").mkdir()
    log = tmp_path / "met"
    (tmp_path / "patch/sitecustomize.py").write_text(FULL.format(log=str(log)))
    path = os.pathsep.join([str(tmp_path / "patch"), os.environ.get("PYTHONPATH", "")])
    nodes.join(PYTHONPATH=path)
    arms = (f"{STUDY[-1]},tiny", "--arm", "tiny=shrink.budget.macs=0.0001", "--seeds", 1)
    line = fault("compare", *STUDY[:-1], *arms, "--out", "full", "--executor", "ray")
    assert "1 of 4 cells failed: tiny seed 0" in line
    assert "raise the budget" in line
    assert log.read_text()
    assert same_results(Path("full"), study, seeds=1)
    assert sittings(Path("full")) == 3


def losses(folder: Path) -> list[Any]:
    trials = read_json(folder / "search.json")["trials"]
    return [(trial["widths"], trial["loss"]) for trial in trials]


def test_a_node_is_killed_in_the_middle_of_a_search(nodes: TwoNodes) -> None:
    done("shrink", *SEARCH, "--out", "local")
    nodes.join()

    def kill() -> None:
        until(lambda: any(trial_of(nodes, lock) for lock in Path("spread/trials").glob("*.lock")))
        nodes.kill()
        nodes.join()

    with meanwhile(kill):
        said = on_ray("shrink", *SEARCH, "--out", "spread")
    assert "trial 6 of 6: loss" in said
    assert losses(Path("spread")) == losses(Path("local"))
    assert files(Path("spread")) == files(Path("local"))
    found = "architecture.lwdna.json"
    assert Path("spread", found).read_bytes() == Path("local", found).read_bytes()


def trial_of(nodes: TwoNodes, lock: Path) -> bool:
    """Whether the second node makes a trial and has saved it."""
    saved = lock.with_suffix("") / "checkpoints/last.safetensors"
    return saved.exists() and nodes.on_second(holder(lock))


def test_trials_within_a_comparison_are_tasks_too(nodes: TwoNodes) -> None:
    trials = (*SEARCH[:-2], "shrink.trials.count=3", "--arms", "baseline,lwdna", "--seeds", 1)
    done("compare", *trials, "--out", "local")
    on_ray("compare", *trials, "--out", "spread")
    assert Path("spread/results.json").read_bytes() == Path("local/results.json").read_bytes()
    search = "cells/lwdna/search"
    assert losses(Path("spread", search)) == losses(Path("local", search))


def test_ctrl_c_saves_and_the_same_command_goes_on(nodes: TwoNodes) -> None:
    command = ("compare", *STUDY, "train.epochs=200", "--seeds", 1, "--out", "stopped")
    process = subprocess.Popen(
        [sys.executable, "-m", "lwdna", *map(str, command), "--executor", "ray"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(lambda: list(Path("stopped").glob("cells/*/*/training/checkpoints/last.safetensors")))
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "lwdna compare --resume --out stopped --executor ray" in said
    assert "Traceback" not in said
    assert "stopped; the same command goes on" in Path("stopped/progress.html").read_text()
    assert not list(Path("stopped").rglob("*.lock"))


def test_no_gpu_and_a_search_that_others_write(nodes: TwoNodes) -> None:
    given = ("compare", *STUDY, "--seeds", 1, "--out", "none", "--executor", "ray")
    assert "have 0.5 GPUs, but the Ray cluster has 0" in fault(*given, "--gpus-per-task", 0.5)
    assert not list(Path("none/cells").iterdir())
    Path("held").mkdir()
    with locked(Path("held/run.lock")):
        line = fault("shrink", *SEARCH, "--out", "held", "--executor", "ray")
    assert "is being written by process" in line
