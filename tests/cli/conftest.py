from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from .command import DIGITS, done


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Toy networks are faster on one thread, and several test processes may run at once."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Processes that a shell starts in the background ignore SIGINT, and so would the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job on digits; tests must not change it."""
    folder = tmp_path_factory.mktemp("job") / "digits"
    done("quickstart", *DIGITS, "--out", folder)
    return folder
