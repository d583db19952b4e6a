"""Read what a run left behind: a whole job, a search alone or a training run alone.

Files that are missing leave their part out; files that are damaged are errors that name them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from lwdna.arrays import read_arrays
from lwdna.errors import FileError
from lwdna.files import read_json
from lwdna.reports.class_figures import Predictions, read_predictions
from lwdna.reports.pictures import Shown
from lwdna.reports.records import (
    ArchitectureRecord,
    DataRecord,
    EpochRecord,
    ExampleFigures,
    ModelRecord,
    Record,
    Results,
    SearchRecord,
    TrackingRecord,
)
from lwdna.run_folder import (
    ARCHITECTURE,
    BASELINE,
    DATA,
    EXAMPLE_FIGURES,
    EXAMPLES,
    FOUND,
    METRICS,
    OUTCOMES,
    RECIPE,
    RESULTS,
    SEARCH,
    SEARCH_RECORD,
    SHEET,
    TRACKING_RECORD,
)
from lwdna.tasks.classification.sheet import Sheet, read_sheet


@dataclass(frozen=True)
class TrainingRun:
    """What one training run left; ``folder`` is relative to the folder reported on."""

    folder: str
    results: Results | None
    epochs: tuple[EpochRecord, ...]
    architecture: ArchitectureRecord | None
    recipe: str | None
    examples: Shown = field(default_factory=lambda: Shown({}))
    """Pictures of a few validation examples."""
    tracking: TrackingRecord | None = None
    """Of a tracker: how well it followed its targets."""
    outcomes: NDArray[np.float64] | None = None
    """The primary metric of every validation example, shape (N,)."""
    predictions: Predictions | None = None
    """Of a network that tells classes: which it chose for every validation example."""
    sheet: Sheet | None = None
    """Small pictures of some of these."""


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
    places = (folder / part for part in (".", BASELINE, FOUND, search_folder))
    data = next(filter(None, map(read_data, places)), None)
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


def read_data(folder: Path) -> DataRecord | None:
    """Return what is written down in a folder of its data, None if nothing is.

    Raises:
        FileError: the file is damaged.
    """
    return _read_if_there(DataRecord, folder / DATA)


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
        examples=read_examples(folder),
        tracking=_read_if_there(TrackingRecord, folder / EXAMPLES / TRACKING_RECORD),
        outcomes=_read_outcomes(folder / OUTCOMES, results),
        predictions=read_predictions(folder),
        sheet=sheet_of(folder),
    )


def _read_outcomes(path: Path, results: Results | None) -> NDArray[np.float64] | None:
    if results is None or results.metric is None or not path.is_file():
        return None
    values = read_arrays(path).get(results.metric)
    return None if values is None else values.astype(np.float64)


def read_examples(training: Path) -> Shown:
    """Return the pictures of a few validation examples that a training left.

    Raises:
        FileError: one cannot be read, or their figures are damaged.
    """
    folder = training / EXAMPLES
    try:
        files = {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}
    except OSError as error:
        raise FileError(f"cannot read the pictures in {folder}: {error}") from error
    return Shown(files, _read_if_there(ExampleFigures, folder / EXAMPLE_FIGURES))


def sheet_of(training: Path) -> Sheet | None:
    """Return the small pictures of validation images that a training left, if it did.

    Raises:
        FileError: they cannot be read.
    """
    path = training / EXAMPLES / SHEET
    return read_sheet(path) if path.is_file() else None


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
