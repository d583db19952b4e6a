"""A folder belongs to one process at a time, until that ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lwdna.errors import FileError, LockedError
from lwdna.locks import locked

HOLDER = r"""
import signal, sys, time
from pathlib import Path
from lwdna.locks import locked
signal.signal(signal.SIGINT, signal.default_int_handler)  # what starts the tests may ignore it
with locked(Path(sys.argv[1])):
    sys.stdout.write("held\n")
    sys.stdout.flush()
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds ``tmp_path/run.lock``."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_holds_a_folder_is_said(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(LockedError) as caught, locked(tmp_path / "run.lock"):
        pass
    message = str(caught.value)
    assert f"{tmp_path} is being written by process {holder.pid} on {socket.gethostname()}" in (
        message
    )
    assert ", since 20" in message
    assert "\n" not in message
    assert holder.poll() is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_process_that_ends_leaves_it(
    tmp_path: Path, holder: subprocess.Popen[str], number: signal.Signals
) -> None:
    holder.send_signal(number)
    holder.wait()
    with locked(tmp_path / "run.lock") as held:
        assert held
        assert json.loads((tmp_path / "run.lock").read_text())["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_it_is_not_inherited(tmp_path: Path) -> None:
    """A process that reads images for one that was killed does not hold its lock."""
    program = HOLDER.replace("    sys", "    import os\n    os.fork()\n    sys", 1)
    command = [sys.executable, "-c", program, str(tmp_path / "run.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            assert process.stdout
            assert [process.stdout.readline() for _ in range(2)] == ["held\n"] * 2
            process.kill()
            process.wait()
            with locked(tmp_path / "run.lock"):
                pass
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the child, too


def test_two_of_one_process(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(locked(tmp_path / "run.lock"))
        with pytest.raises(LockedError, match=f"process {os.getpid()} on"):
            stack.enter_context(locked(tmp_path / "run.lock"))
        stack.enter_context(locked(tmp_path / "other.lock"))
    with locked(tmp_path / "run.lock"):
        pass


def test_an_unknown_holder(tmp_path: Path) -> None:
    with open(tmp_path / "run.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(LockedError, match="written by another process"),
            locked(tmp_path / "run.lock"),
        ):
            pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "run.lock", required=False) as held:
        assert not held
    with pytest.raises(FileError, match="knows no locks"), locked(tmp_path / "run.lock"):
        pass


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot write"), locked(tmp_path / "file" / "run.lock"):
        pass
