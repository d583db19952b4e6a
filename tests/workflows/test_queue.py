"""The queue below a comparison, with executors that lose, hold and reorder what they are given."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lwdna.engine.executor import Ended
from lwdna.engine.signals import TrainingInterrupted
from lwdna.errors import FileError, RecipeError
from lwdna.locks import locked
from lwdna.run_folder import CLAIM
from lwdna.run_options import RunOptions
from lwdna.workflows import queue
from lwdna.workflows.executors.work import Piece, of_the_machine
from lwdna.workflows.queue import work_through
from small_job import Small


class Late:
    """Does what it was given when asked, the last first; the first time it is told to lose some."""

    elsewhere, nests, room = True, False, 2

    def __init__(self, act: Callable[[str, int], BaseException | None] = lambda name, n: None):
        self._act, self._given = act, []
        self.tries: dict[str, int] = {}
        self.most = 0

    def submit(self, name, work, *arguments, waits=False):
        self._given.append((name, work, arguments))
        self.most = max(self.most, len(self._given))

    def ended(self, seconds):
        if not self._given or not seconds:
            return []
        name, work, arguments = self._given.pop()
        short = Path(name).name
        self.tries[short] = self.tries.get(short, 0) + 1
        fault = self._act(short, self.tries[short])
        return [Ended(name, None if fault else work(*arguments), fault)]


def finish(job: Small, name: str) -> str | None:
    if job.title == "bad":
        return "it cannot be"
    (job.folder / "done").touch()
    return None


def test_what_a_worker_saved_and_left_is_handed_out_again_and_what_fails_is_named(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(queue.time, "sleep", lambda seconds: None)
    search = Small(tmp_path / "search")
    names = ("a", "bad", "b", "c")
    jobs = [search, *(Small(tmp_path / name, search) for name in names), Small(tmp_path / "d")]
    jobs.append(Small(tmp_path / "needs", jobs[2]))

    def act(name: str, number: int) -> BaseException | None:
        if name == "b" and number < 3:
            return TrainingInterrupted("stopped")
        return FileError("no space") if name == "c" else None

    late, seen = Late(act), []
    left = work_through(jobs, finish, late, lambda job, made: seen.append((job.title, made)))
    assert left.held == []
    faults = sorted((job.title, fault) for job, fault in left.faults)
    assert faults == [("bad", "it cannot be"), ("c", "no space")]
    assert late.tries == {"search": 1, "d": 1, "a": 1, "bad": 1, "b": 3, "c": 1}
    assert late.most == 2
    assert {title for title, made in seen if made.finished} == {"search", "a", "b", "d"}
    assert {title for title, made in seen if made.failed} == {"bad", "c"}


def test_what_another_holds_is_asked_for_again_and_then_left(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(queue.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(
        queue.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds)
    )
    jobs = [Small(tmp_path / name) for name in ("held", "free")]
    jobs[0].folder.mkdir()
    late = Late()
    with locked(jobs[0].folder / CLAIM):
        left = work_through(jobs, finish, late)
    assert left.held == jobs[:1]
    assert 9 <= late.tries["held"] <= 13
    assert late.tries["free"] == 1
    assert work_through(jobs, finish, Late()).held == []


def test_a_fault_of_the_program_keeps_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError):
        work_through([Small(tmp_path / "a")], lambda job, name: str(1 / 0), Late())


def test_a_worker_changes_into_the_folder_of_who_asks(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    assert Piece(tmp_path, False, Path.cwd, ())() == (tmp_path, None)
    value, fault = Piece(tmp_path / "none", False, Path.cwd, ())()
    assert value is None
    assert of_the_machine(fault)
    assert "a worker cannot enter" in str(fault)
    _, fault = Piece(tmp_path, False, partial(RunOptions, executor="rya"), ())()
    assert "there is no executor rya; choose local, ray" in str(fault)
    assert not of_the_machine(fault)
    assert not of_the_machine(TrainingInterrupted("stopped"))


def full_disk():
    raise OSError(errno.ENOSPC, "No space left on device", "somewhere")


def test_a_full_disk_is_a_fault_of_the_machine_and_a_missing_file_one_of_the_program(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    _, fault = Piece(tmp_path, False, full_disk, ())()
    assert of_the_machine(fault)
    assert str(fault) == "cannot use somewhere: No space left on device"
    with pytest.raises(FileNotFoundError):
        Piece(tmp_path, False, (tmp_path / "none").read_text, ())()
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"cannot make .*Not a directory"):
        work_through([Small(tmp_path / "file/cell")], finish)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"executor": "ray://"}, "there is no executor ray://"),
        ({"gpus_per_task": 0.5}, "leave it out here"),
        ({"executor": "ray", "jobs": 2}, "--jobs 2 starts processes of this machine"),
        ({"executor": "ray", "gpus_per_task": 1.5}, "--gpus-per-task 1.5 is neither"),
        ({"executor": "ray", "gpus_per_task": -1}, "--gpus-per-task -1 is neither"),
        ({"executor": "slurm", "gpus_per_task": 0.25}, "Slurm gives whole GPUs, not 0.25"),
    ],
)
def test_options_that_contradict_each_other(given, said):
    with pytest.raises(RecipeError, match=said.replace("(", r"\(")):
        RunOptions(**given)
    RunOptions(executor="ray", gpus_per_task=0.25)
    RunOptions(executor="slurm", gpus_per_task=2)
