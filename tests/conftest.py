"""Settings of the whole test run: on the CPU, which is exact, or with ``--gpu`` on a GPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu", action="store_true", help="run the tests that need a CUDA GPU")


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # of the processes that tests start, too
    elif not torch.cuda.is_available():
        raise pytest.UsageError("--gpu: torch sees no CUDA GPU here")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = config.getoption("--gpu")
    fitting: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        fits = (item.get_closest_marker("gpu") is not None) == chosen
        (fitting if fits else others).append(item)
    items[:] = fitting
    config.hook.pytest_deselected(items=others)
