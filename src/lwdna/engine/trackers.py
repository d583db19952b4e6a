"""Trackers of experiments (Weights & Biases, MLflow, ...) by way of Accelerate's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lwdna.errors import TrainingError
from lwdna.files import read_json, write_json
from lwdna.run_folder import TRACKED

_IDENTITY = {
    "aim": "hash",
    "clearml": "id",
    "comet_ml": "id",
    "mlflow": "info.run_id",
    "wandb": "id",
}
"""Where in what a tracker's package calls a run its name for the run is."""
PROJECT = "lwdna"
"""What the runs of all recipes are gathered under."""


@dataclass(frozen=True)
class Tracking:
    """Which trackers follow a training, and what they are told of it."""

    names: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    """The recipe: plain values by their full keys."""


def check_trackers(names: Sequence[str]) -> None:
    """Make sure that the packages of trackers are installed.

    Raises:
        TrainingError: one is not.
    """
    for name in names:
        if find_spec(name) is None:
            raise TrainingError(
                f"train.trackers names {name}, which is not installed; install it (pip install "
                f"{name.replace('_', '-')}) or leave it out"
            )


class Trackers:
    """The trackers of a training under way; one that fails later on is left out with a warning."""

    def __init__(self, tracking: Tracking, run_dir: Path) -> None:
        """Start them; a run that is resumed goes on under its identity.

        Raises:
            TrainingError: one cannot start, as where nobody is logged in.
        """
        self._running: list[Any] = []
        for name in tracking.names:
            known = _identity(name, run_dir)
            try:
                tracker = _make(name, run_dir, known)
                tracker.start()
                if known is None:
                    tracker.store_init_configuration(dict(tracking.config))
            except Exception as error:  # whatever the tracker's package raises
                raise TrainingError(
                    f"the tracker {name} did not start: {_one_line(error)}; see to it, or leave "
                    "it out of train.trackers"
                ) from error
            _keep_identity(name, tracker, run_dir)
            self._running.append(tracker)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Tell all of them what was measured after ``step`` optimizer steps."""
        for tracker in [*self._running]:
            self._try(tracker, lambda one: one.log(dict(values), step=step))

    def finish(self) -> None:
        """End them."""
        for tracker in [*self._running]:
            self._try(tracker, lambda one: one.finish())

    def _try(self, tracker: Any, act: Callable[[Any], None]) -> None:
        """Do something with a tracker; a training does not end because its server is away."""
        try:
            act(tracker)
        except Exception as error:  # whatever the tracker's package raises
            self._running.remove(tracker)
            warnings.warn(
                f"the tracker {tracker.name} failed and is left out from now on: "
                f"{_one_line(error)}; metrics.jsonl has everything",
                stacklevel=2,
            )


def _make(name: str, run_dir: Path, identity: str | None) -> Any:
    """Return a tracker of Accelerate's that has not started."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    place = [str(run_dir)] if kind.requires_logging_directory else []
    return kind(PROJECT, *place, **_options(name, run_dir, identity))


def _options(name: str, run_dir: Path, identity: str | None) -> dict[str, Any]:
    """Return what a tracker is started with: the name of the run, and how it goes on."""
    title = "-".join(run_dir.resolve().parts[-2:]).strip("/")
    if name == "wandb":
        return {"name": title, "dir": str(run_dir), "id": identity, "resume": "allow"}
    if name == "mlflow":
        return {"run_name": title, "run_id": identity}
    if name == "trackio":
        return {"name": title, "resume": "allow"}
    if name == "dvclive":
        return {"dir": str(run_dir / "dvclive"), "resume": True}
    if name == "clearml":
        again = {"continue_last_task": identity} if identity else {}
        return {"project_name": PROJECT, "task_name": title, **again}
    if name == "swanlab":
        return {"experiment_name": title, "logdir": str(run_dir / "swanlog")}
    if name == "aim":
        return {"run_hash": identity} if identity else {}
    return {"experiment_key": identity} if identity else {}  # comet_ml


def _identity(name: str, run_dir: Path) -> str | None:
    """Return by which name the tracker knows this run already."""
    known = read_json(run_dir / TRACKED) if (run_dir / TRACKED).is_file() else {}
    return known.get(name) if isinstance(known, dict) else None


def _keep_identity(name: str, tracker: Any, run_dir: Path) -> None:
    """Write down by which name the tracker knows this run, to go on under it."""
    inside = tracker.tracker
    for part in _IDENTITY.get(name, "").split("."):
        inside = getattr(inside, part, None)
    if isinstance(inside, str):
        path = run_dir / TRACKED
        known = read_json(path) if path.is_file() else {}
        write_json(path, {**known, name: inside})


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
