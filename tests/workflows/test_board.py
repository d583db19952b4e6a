"""How far a comparison is, read from a folder made by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from lwdna.recipe import load_recipe
from lwdna.run_folder import PROGRESS
from lwdna.workflows import board
from lwdna.workflows.board import Board, shown
from lwdna.workflows.cells import cells_of, jobs_for


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return tmp_path / "a <study>"


@pytest.fixture
def jobs(study):
    given = ["compare.seeds=3", "compare.search=once", "train.epochs=10"]
    recipe = load_recipe("digits", given)
    return jobs_for([cell for cell in cells_of(recipe, study) if cell.arm in ("baseline", "lwdna")])


def epochs(study, arm, seed, done, speed):
    training = study / f"cells/{arm}/seed{seed}/training"
    training.mkdir(parents=True, exist_ok=True)
    lines = [{"epoch": n, "step": n, "images_per_second": speed} for n in range(1, done + 1)]
    (training / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (training.parent / "claim.lock").touch()


def finish(study, arm, seed):
    training = study / f"cells/{arm}/seed{seed}/training"
    training.mkdir(parents=True, exist_ok=True)
    (training / "results.json").touch()
    (training.parent / "claim.lock").unlink(missing_ok=True)


def test_figures(study, jobs, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(board.time, "monotonic", lambda: clock[0])
    finish(study, "baseline", 0)
    epochs(study, "baseline", 1, 5, 17.0)
    seen = Board(jobs)
    assert seen.status().left is None  # nothing was done since it began
    epochs(study, "baseline", 1, 9, 13.0)
    epochs(study, "baseline", 2, 6, 29.0)
    (study / "cells/lwdna/search").mkdir(parents=True)
    (study / "cells/lwdna/search/claim.lock").touch()
    clock[0] += 30
    status = seen.status()
    assert (status.cells, status.done, status.failed) == (6, 1, 0)
    assert [line.title for line in status.running] == [
        "search of lwdna",
        "baseline seed 1",
        "baseline seed 2",
    ]
    assert status.images_per_second == 42
    assert status.left == pytest.approx(30 * 3.5 / 1)  # of 6 cells 2.5 are done, 1 of them here
    assert dict(status.figures())["time left"] == "2 min"
    finish(study, "baseline", 1)
    seen.failed(jobs[0])  # the search, and so three cells
    status = seen.status()
    assert (status.done, status.failed) == (2, 3)
    assert dict(status.figures())["running"] == "2"


def test_a_page_while_the_body_runs(study, jobs, monkeypatch):
    study.mkdir()
    page = study / PROGRESS
    terminal = io.StringIO()
    monkeypatch.setattr(
        board, "Console", lambda stderr: Console(file=terminal, force_terminal=True, width=100)
    )
    with shown(jobs, study, table=True):
        text = page.read_text()
        assert '<meta http-equiv="refresh" content="5">' in text
        assert "<tr><th>cells done<td>0 of 6" in text
        assert "a &lt;study&gt;" in text
        epochs(study, "baseline", 2, 6, 29.0)
    assert not page.exists()
    assert "baseline seed 2, epoch 7 of 10, 29 images per second" in terminal.getvalue()
    with pytest.raises(KeyboardInterrupt), shown(jobs, study, table=False):
        raise KeyboardInterrupt
    text = page.read_text()
    assert "stopped; the same command goes on" in text
    assert "refresh" not in text
