"""Read what a run left behind: a whole job, a search alone or a training run alone.

Files that are missing leave their part out; files that are damaged are errors that name them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator

from lwdna.arrays import read_arrays
from lwdna.engine.task import Metric, described
from lwdna.errors import FileError
from lwdna.files import read_json
from lwdna.run_folder import (
    ARCHITECTURE,
    BASELINE,
    DATA,
    EXAMPLES,
    FOUND,
    METRICS,
    OUTCOMES,
    RECIPE,
    RESULTS,
    SEARCH,
    SEARCH_RECORD,
    TRACKING_RECORD,
)


class Record(BaseModel):
    """A file's content; what a later version adds to the file is no reason to refuse it."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class RecordedCost(Record):
    """Multiply-accumulates of one forward pass, parameters, peak activation memory in bytes."""

    macs: int
    params: int
    memory: int | None = None


class Stages(Record):
    """One figure of the baseline, of the widened network and of the network found."""

    baseline: int
    widened: int | None = None
    found: int


class GroupRecord(Record):
    """Widths of a group of coupled channels and the criterion's score per widened channel."""

    name: str
    baseline: int
    widened: int | None = None
    found: int
    floor: int | None = None
    scores: tuple[float, ...] = ()


class LayerRecord(Record):
    """Cost of one layer before and after."""

    name: str
    op: str = ""
    macs: Stages
    params: Stages


class TrialRecord(Record):
    """A short training of a search; without a loss where it failed."""

    loss: float | None = None


class GainRecord(Record):
    """By how much a logarithm of the loss is expected to fall, with its 95 % interval."""

    mean: FiniteFloat
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None


class FeatureRecord(Record):
    """Groups that are alike: how the loss falls with their widths, and what these cost."""

    name: str
    groups: tuple[str, ...] = ()
    exponent: FiniteFloat
    """Fall of the log loss per unit of log width."""
    error: FiniteFloat = 0.0
    """Its standard error."""
    cost: FiniteFloat | None = None
    """By how many percent the tightest resource grows with 1 % more width."""
    costs: dict[str, FiniteFloat] = {}
    """The same by resource."""


class BudgetGain(Record):
    """What another budget would bring."""

    budget: dict[str, Any]
    gain: GainRecord


class LawRecord(Record):
    """What a search by trials learnt of the losses of different widths."""

    features: tuple[FeatureRecord, ...] = ()
    gain: GainRecord | None = None
    """Of the network found against the baseline."""
    kept_baseline: bool = False
    reason: str = ""
    budgets: tuple[BudgetGain, ...] = ()
    proxy: dict[str, Any] = {}
    """Values of the recipe that make the smaller network on which it was learnt, if it was."""


class SearchRecord(Record):
    """``search.json``."""

    groups: tuple[GroupRecord, ...] = ()
    threshold: float | None = None
    trials: tuple[TrialRecord, ...] = ()
    law: LawRecord | None = None
    layers: tuple[LayerRecord, ...] = ()
    cost: dict[str, RecordedCost] = {}
    budget: dict[str, Any] = {}
    criterion: str = ""
    seconds: float | None = None


class ModelRecord(Record):
    """Where a network comes from."""

    name: str
    args: dict[str, Any] = {}
    transforms: tuple[dict[str, Any], ...] = ()


class ArchitectureRecord(Record):
    """The part of ``architecture.lwdna.json`` that a report shows; any version will do."""

    model: ModelRecord | None = None
    input_size: tuple[Any, ...] | dict[str, Any] | None = None
    widths: dict[str, int] = {}
    baseline: RecordedCost | None = None
    cost: RecordedCost | None = None
    found: dict[str, Any] = {}


class Results(Record, extra="allow"):
    """``results.json`` of one training run; the values of its metrics stand beside the rest."""

    name: str | None = None
    metric: str | None = None
    metrics: tuple[Metric, ...] = ()
    macs: int | None = None
    params: int | None = None
    memory: int | None = None
    file_bytes: int | None = None
    latency_ms: float | None = None
    train_seconds: float | None = None
    epochs: int | None = None
    seed: int | None = None
    versions: dict[str, Any] = {}
    machine: dict[str, Any] = {}
    remarks: tuple[str, ...] = ()
    """Clauses on how the figures came about."""

    @model_validator(mode="after")
    def _measured(self) -> Results:
        known = dict(self)
        for metric in described(known):
            if not isinstance(known.get(metric.name), int | float | None):
                raise ValueError(f"{metric.name} is no number")
        return self

    @property
    def figures(self) -> dict[str, Any]:
        """All that is known, by the names of ``results.json``."""
        return self.model_dump(exclude_none=True)


class EpochRecord(Record, extra="allow"):
    """One line of ``metrics.jsonl``; what has no field here is a metric of the task."""

    epoch: int
    step: int | None = None
    lr: float | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    seconds: float | None = None
    images_per_second: float | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The task's own metrics by name."""
        known = self.model_extra or {}
        return {name: value for name, value in known.items() if isinstance(value, int | float)}

    def figure(self, name: str) -> float | None:
        """Return a loss or a metric, ``None`` where it was not recorded."""
        value = dict(self).get(name)
        return value if isinstance(value, int | float) else None


class TrackingCurves(Record):
    """How well a tracker followed one target, or all: shares of frames from 0 to 1 by threshold,
    ``None`` where no frame was judged, and the success in percent."""

    success: tuple[FiniteFloat | None, ...]
    precision: tuple[FiniteFloat | None, ...]
    normalised_precision: tuple[FiniteFloat | None, ...]
    auc: FiniteFloat | None = None


class TrackingRecord(Record):
    """``tracking.json``."""

    toolkit: str = ""
    thresholds: dict[str, tuple[FiniteFloat, ...]]
    """Of the curves by name, in increasing order."""
    sequences: dict[str, TrackingCurves] = {}
    mean: TrackingCurves

    @model_validator(mode="after")
    def _thresholds_fit(self) -> TrackingRecord:
        for name in ("success", "precision", "normalised_precision"):
            thresholds = self.thresholds.get(name, ())
            if len(thresholds) < 2 or list(thresholds) != sorted({*thresholds}):
                raise ValueError(f"the thresholds of {name} are no increasing numbers")
            for curves in (self.mean, *self.sequences.values()):
                if len(getattr(curves, name)) != len(thresholds):
                    raise ValueError(f"a curve of {name} has not as many values as thresholds")
        return self


class HalfRecord(Record):
    """The training or the validation set, as in ``data.json``."""

    counts: tuple[int, ...] = ()
    """Number of examples of every class."""


class DataRecord(Record):
    """The part of ``data.json`` that a report shows."""

    classes: tuple[str, ...] | None = None
    train: HalfRecord = HalfRecord()
    val: HalfRecord = HalfRecord()


@dataclass(frozen=True)
class TrainingRun:
    """What one training run left; ``folder`` is relative to the folder reported on."""

    folder: str
    results: Results | None
    epochs: tuple[EpochRecord, ...]
    architecture: ArchitectureRecord | None
    recipe: str | None
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """Image files of a few validation examples by name."""
    tracking: TrackingRecord | None = None
    """Of a tracker: how well it followed its targets."""
    outcomes: NDArray[np.float64] | None = None
    """The primary metric of every validation example, shape (N,)."""


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds, as far as it is there; ``architecture`` is that of the result."""

    search: SearchRecord | None
    search_folder: str
    search_recipe: str | None
    architecture: ArchitectureRecord | None
    baseline: TrainingRun | None
    found: TrainingRun | None
    data: DataRecord | None = None

    @property
    def network(self) -> ModelRecord | None:
        """Where the network comes from."""
        return self._any_architecture.model if self._any_architecture is not None else None

    @property
    def input_size(self) -> tuple[Any, ...] | dict[str, Any] | None:
        """Sizes of the network's inputs."""
        return self._any_architecture.input_size if self._any_architecture is not None else None

    @property
    def _any_architecture(self) -> ArchitectureRecord | None:
        if self.architecture is None and self.baseline is not None:
            return self.baseline.architecture
        return self.architecture


def read_run(folder: Path) -> RunFiles:
    """Read a run folder.

    Args:
        folder: a job (``search/``, ``baseline/``, ``lwdna/``), a search or a training run.

    Raises:
        FileError: the folder is missing, holds no file of a run, or a file in it is damaged.
    """
    if not folder.is_dir():
        raise FileError(f"{folder} is not a folder; give the folder of a run, {_RUN_FOLDER}")
    baseline = read_training(folder / BASELINE, BASELINE)
    found = read_training(folder / FOUND, FOUND)
    baseline, found = _fill_results(folder, baseline, found)
    search_folder = SEARCH if (folder / SEARCH).is_dir() else "."
    search = _read_if_there(SearchRecord, folder / search_folder / SEARCH_RECORD)
    recipe = read_text(folder / search_folder / RECIPE) if search is not None else None
    architecture = _read_architecture(folder / search_folder)
    if baseline is None and found is None and search is None:
        alone = read_training(folder, ".")
        if alone is not None:
            baseline, found = (alone, None) if _is_baseline(alone) else (None, alone)
            architecture = None
    if architecture is None and found is not None:
        architecture = found.architecture
    if all(part is None for part in (search, architecture, baseline, found)):
        raise FileError(f"{folder} holds no files of a run; give the folder of one, {_RUN_FOLDER}")
    places = (folder / part / DATA for part in (".", BASELINE, FOUND, search_folder))
    data = next((read_record(DataRecord, place) for place in places if place.is_file()), None)
    return RunFiles(search, search_folder, recipe, architecture, baseline, found, data)


_RUN_FOLDER = (
    f"which contains {SEARCH_RECORD} (from a search), {METRICS} and {RESULTS} (from a training), "
    f"or the folders {SEARCH}, {BASELINE} and {FOUND} (from a whole job)"
)

_R = TypeVar("_R", bound=Record)


def read_record(kind: type[_R], path: Path) -> _R:
    """Return a JSON file as a record.

    Raises:
        FileError: the file is missing or damaged.
    """
    return parse_record(kind, read_json(path), path)


def _read_if_there(kind: type[_R], path: Path) -> _R | None:
    return read_record(kind, path) if path.is_file() else None


def parse_record(kind: type[_R], value: Any, where: Path | str) -> _R:
    """Return what was read from a file as a record.

    Raises:
        FileError: the file is damaged; ``where`` names it.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the whole"
        raise FileError(
            f"{where} is damaged at {place}: {fault['msg']}; repeat the step that wrote it"
        ) from error


def _read_architecture(folder: Path) -> ArchitectureRecord | None:
    return _read_if_there(ArchitectureRecord, folder / ARCHITECTURE)


def read_training(folder: Path, name: str) -> TrainingRun | None:
    """Return what a training left in ``folder``, None if there is none; ``name`` says where it is.

    Raises:
        FileError: a file is damaged.
    """
    results = _read_if_there(Results, folder / RESULTS)
    epochs = _read_epochs(folder / METRICS)
    if results is None and not epochs:
        return None
    return TrainingRun(
        folder=name,
        results=results,
        epochs=epochs,
        architecture=_read_architecture(folder),
        recipe=read_text(folder / RECIPE),
        pictures=read_pictures(folder),
        tracking=_read_if_there(TrackingRecord, folder / EXAMPLES / TRACKING_RECORD),
        outcomes=_read_outcomes(folder / OUTCOMES, results),
    )


def _read_outcomes(path: Path, results: Results | None) -> NDArray[np.float64] | None:
    if results is None or results.metric is None or not path.is_file():
        return None
    values = read_arrays(path).get(results.metric)
    return None if values is None else values.astype(np.float64)


def read_pictures(training: Path) -> dict[str, bytes]:
    """Return the image files of a few validation examples that a training left, by name.

    Raises:
        FileError: one cannot be read.
    """
    folder = training / EXAMPLES
    try:
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}
    except OSError as error:
        raise FileError(f"cannot read the pictures in {folder}: {error}") from error


def read_text(path: Path) -> str | None:
    """Return the text of a file, None if there is none.

    Raises:
        FileError: it cannot be read.
    """
    if not path.is_file():
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read {path}: {error}") from error


def _read_epochs(path: Path) -> tuple[EpochRecord, ...]:
    """Read ``metrics.jsonl``; of an epoch that was repeated after a resume, the last counts."""
    text = read_text(path) or ""
    epochs = {}
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            # A training that is still running may be in the middle of its last line.
            if number == len(lines) and not text.endswith("\n"):
                break
            raise FileError(
                f"{path} is damaged at line {number}: {error}; remove that line"
            ) from error
        record = parse_record(EpochRecord, value, f"{path}, line {number},")
        epochs[record.epoch] = record
    return tuple(epochs[epoch] for epoch in sorted(epochs))


def _fill_results(
    folder: Path, baseline: TrainingRun | None, found: TrainingRun | None
) -> tuple[TrainingRun | None, TrainingRun | None]:
    """Take results that only the job's own ``results.json`` has from there."""
    path = folder / RESULTS
    job = read_json(path) if path.is_file() else {}
    if not isinstance(job, dict):
        raise FileError(f"{path} is damaged: it is not an object; repeat the step that wrote it")
    filled = []
    for name, run in ((BASELINE, baseline), (FOUND, found)):
        if isinstance(job.get(name), dict) and (run is None or run.results is None):
            results = parse_record(Results, job[name], f"{path}, {name},")
            blank = TrainingRun(name, None, (), None, None)
            run = replace(run or blank, results=results)
        filled.append(run)
    return filled[0], filled[1]


def _is_baseline(run: TrainingRun) -> bool:
    """Tell whether a training run that stands alone trained the baseline's own widths."""
    if run.architecture is not None and run.architecture.cost is not None:
        return run.architecture.cost == run.architecture.baseline
    return run.results is None or run.results.name != "lwdna"
