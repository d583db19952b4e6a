"""Trackers of experiments hear what ``metrics.jsonl`` holds, once, also of a run that went on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from accelerate import tracking as accelerate_tracking
from accelerate.tracking import GeneralTracker

from lwdna.engine import TrainingInterrupted, TrainSettings, read_metrics, train
from lwdna.engine.trackers import Tracking, check_trackers
from lwdna.errors import TrainingError

from .test_resume import at_batch, interrupt
from .toy import ToyTask, conv_net

SETTINGS = TrainSettings(epochs=3, batch_size=16)


class Known:
    """What a package calls a run."""

    def __init__(self, name: str) -> None:
        self.id = name


class StandIn(GeneralTracker):
    """Writes down what it is told, as one of Accelerate's trackers is."""

    name = "wandb"
    requires_logging_directory = False
    heard: ClassVar[list[Any]] = []
    fails: ClassVar[dict[str, Exception]] = {}

    def __init__(self, project: str, **given: Any) -> None:
        super().__init__()
        self.given = {"project": project, **given}

    def start(self) -> None:
        self.act("start", self.given)

    @property
    def tracker(self) -> Known:
        return Known(self.given["id"] or "run1")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.act("config", values)

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.act("log", values, step)

    def finish(self) -> None:
        self.act("finish")

    def act(self, what: str, *told: Any) -> None:
        if what in self.fails:
            raise self.fails[what]
        self.heard.append((what, *told))


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a stand-in for Weights & Biases hears, which looks installed."""
    monkeypatch.setattr(StandIn, "heard", [])
    monkeypatch.setattr(StandIn, "fails", {})
    monkeypatch.setitem(accelerate_tracking.LOGGER_TYPE_TO_CLASS, "wandb", StandIn)
    return StandIn.heard


def run(folder: Path, task: ToyTask | None = None, resume: bool = False) -> None:
    tracking = Tracking(("wandb",), {"train.lr": 0.1})
    train(conv_net(), task or ToyTask(), SETTINGS, folder, seed=0, resume=resume, tracking=tracking)


def told(heard: list[Any], what: str) -> list[Any]:
    return [entry[1:] for entry in heard if entry[0] == what]


def test_they_hear_what_the_file_holds(heard: list[Any], tmp_path: Path) -> None:
    run(tmp_path / "photos" / "baseline")
    ((start,),) = told(heard, "start")
    assert start["project"] == "lwdna"
    assert start["name"] == "photos-baseline"
    assert told(heard, "config") == [({"train.lr": 0.1},)]
    lines = read_metrics(tmp_path / "photos" / "baseline")
    assert [values | {"step": step} for values, step in told(heard, "log")] == lines
    assert len(lines) == 3
    assert heard[-1] == ("finish",)


def test_a_resumed_run_goes_on_under_its_identity(heard: list[Any], tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, ToyTask(before_batch=at_batch(5, interrupt)))
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"wandb": "run1"}
    run(tmp_path, resume=True)
    starts = [(given["id"], given["resume"]) for (given,) in told(heard, "start")]
    assert starts == [(None, "allow"), ("run1", "allow")]
    assert len(told(heard, "config")) == 1
    assert [step for _, step in told(heard, "log")] == [3, 6, 9]


def test_one_that_fails_on_the_way_does_not_end_the_training(
    heard: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StandIn, "fails", {"log": OSError("server away")})
    with pytest.warns(UserWarning, match="the tracker wandb failed .*: server away"):
        run(tmp_path)
    assert len(read_metrics(tmp_path)) == 3
    assert told(heard, "finish") == []


def test_one_that_cannot_start_is_said_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StandIn, "fails", {"start": RuntimeError("no API\nkey")})
    steps: list[Any] = []
    with pytest.raises(TrainingError, match="the tracker wandb did not start: no API key"):
        run(tmp_path, ToyTask(before_batch=steps.append))
    assert steps == []


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "comet_ml", None)
    with pytest.raises(TrainingError, match=r"comet_ml, which is not installed.*comet-ml"):
        check_trackers(["comet_ml"])
    there = ModuleType("wandb")
    there.__spec__ = accelerate_tracking.__spec__
    monkeypatch.setitem(sys.modules, "wandb", there)
    check_trackers(["wandb"])
