"""Settings of the whole test run: on the CPU, which is exact, or with ``--gpu`` on a GPU.

``--cluster`` runs the tests that start a cluster or a storage server, and no others. Long tests,
which repeat on larger networks what others show on small ones, run with ``--all``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="session")
def without_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power, after which alone it matters what the disk had."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", os.fstat)  # fails, too, on what is no open file
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu", action="store_true", help="run the tests that need a CUDA GPU")
    parser.addoption("--all", action="store_true", help="run the long tests, too")
    parser.addoption(
        "--cluster", action="store_true", help="run the tests that start Ray or a storage server"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # of the processes that tests start, too
    if getattr(config.option, "numprocesses", None):
        return  # this process only hands out tests; those that run them start meanwhile
    import torch

    torch.set_num_threads(1)
    if config.getoption("--gpu") and not torch.cuda.is_available():
        raise pytest.UsageError("--gpu: torch sees no CUDA GPU here")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    apart = {"gpu", "cluster"}
    chosen = {name for name in apart if config.getoption(f"--{name}")}
    fitting: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        if item.get_closest_marker("long") and not (config.getoption("--all") or chosen):
            others.append(item)
            continue
        fits = {name for name in apart if item.get_closest_marker(name)} == chosen
        (fitting if fits else others).append(item)
    items[:] = fitting
    config.hook.pytest_deselected(items=others)
