"""Several processes do together what one does alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launch import in_processes

from .scenarios import SCENARIOS, main, run

Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Found]:
    """Return what each of two processes found."""
    folder = tmp_path_factory.mktemp("two")
    in_processes(2, main, folder)
    first, second = (json.loads((folder / f"process{i}.json").read_text()) for i in range(2))
    return first, second


@pytest.mark.parametrize("name", ["plain", "accumulated", "uneven", "idle"])
def test_two_processes_train_as_one(tmp_path: Path, two: tuple[Found, Found], name: str) -> None:
    alone = run(name, tmp_path)
    for found in two:
        together = found[name]
        assert together["losses"] == pytest.approx(alone["losses"], rel=1e-5)
        assert together["trained"] == pytest.approx(alone["trained"], rel=1e-5)
        assert together["weights"] == pytest.approx(alone["weights"], rel=1e-5)
        assert together["evaluated"] == pytest.approx(alone["evaluated"], rel=1e-5)
        assert together["outcomes"] == alone["outcomes"]
        assert together["choices"] == alone["choices"]


def test_batch_statistics_of_shares_are_noise(tmp_path: Path, two: tuple[Found, Found]) -> None:
    """Each of two processes normalises its half of the batch by that half's statistics."""
    alone, together = run("norm", tmp_path), two[0]["norm"]
    assert together["losses"] == pytest.approx(alone["losses"], rel=0.05)
    assert together["losses"] != pytest.approx(alone["losses"], rel=1e-5)


@pytest.mark.parametrize("name", SCENARIOS)
def test_processes_agree_and_resume(two: tuple[Found, Found], name: str) -> None:
    first, second = (found[name] for found in two)
    assert first["trained"] == second["trained"] == first["resumed"] == second["resumed"]
    assert first["losses"] == second["losses"]
    assert first["weights"] == second["weights"], "running statistics included"
    assert first["evaluated"] == second["evaluated"]
    assert first["outcomes"] == second["outcomes"] == first["resumed_outcomes"]
    assert first["choices"] == second["choices"] == first["resumed_choices"]


@pytest.mark.parametrize(("name", "size"), [("plain", 17), ("uneven", 5), ("idle", 1)])
def test_each_example_is_evaluated_once(two: tuple[Found, Found], name: str, size: int) -> None:
    first, second = (found[name]["seen"] for found in two)
    assert sorted(first + second) == list(range(size))
