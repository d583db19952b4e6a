"""Searches with trials: stopped, resumed, compared and reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from lwdna.engine import training
from lwdna.files import read_json

from .command import DIGITS, at_call, done, fault, lwdna

TRIALS = (*DIGITS, "shrink.trials.count=11")
STEPS = 4
"""Steps of a trial of one epoch."""


def _stop() -> None:
    raise KeyboardInterrupt


def test_stopped_trials_go_on_and_find_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    said = done("shrink", *TRIALS, "--out", straight)
    assert "trial 11 of 11: loss" in said
    assert "trials: 11 short trainings, loss" in said
    with monkeypatch.context() as patched:
        patched.setattr(training, "_update", at_call(10 * STEPS + 2, training._update, _stop))
        assert lwdna("shrink", *TRIALS, "--out", killed).code != 0
    assert not (killed / "architecture.lwdna.json").exists()
    again = done("shrink", "--resume", "--out", killed)
    assert "trial 10 of 11" not in again
    assert "trial 11 of 11" in again
    one, two = (folder / "architecture.lwdna.json" for folder in (straight, killed))
    assert one.read_bytes() == two.read_bytes()
    record = read_json(killed / "search.json")
    before = sum(trial["seconds"] for trial in record["trials"])  # also in the first sitting
    assert record["seconds"] >= round(before, 3)


def test_an_arm_with_trials_is_compared_with_controls_without() -> None:
    recipe = (*DIGITS, "shrink.trials.count=2")
    done("compare", *recipe, "--seeds", 1, "--arms", "baseline,lwdna,random", "--out", "study")
    searched = read_json(Path("study/cells/lwdna/search/search.json"))  # once for all seeds
    assert len(searched["trials"]) == 2
    assert read_json(Path("study/cells/random/seed0/search/search.json"))["trials"] == []
    names = {group["name"] for group in searched["groups"]}
    assert all(set(trial["widths"]) == names for trial in searched["trials"])


def test_the_report_of_a_job_names_the_losses_of_the_trials() -> None:
    done("quickstart", *DIGITS, "shrink.trials.count=2", "--out", "job")
    assert "2 short trainings, loss" in Path("job/report.html").read_text(encoding="utf-8")


def test_trials_that_are_too_short_are_refused() -> None:
    line = fault("shrink", *DIGITS, "shrink.trials.length=0.3", "--out", "short")
    assert "shrink.trials.length (0.3) makes trials of 3 of the 8 steps" in line
