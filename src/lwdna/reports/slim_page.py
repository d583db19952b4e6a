"""The page of a slim run: a trained network made smaller, stage by stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from lwdna.engine.task import Metric, described
from lwdna.errors import FileError
from lwdna.files import write_text
from lwdna.input_size import describe
from lwdna.reports.axes import Tick, axis_around
from lwdna.reports.bars import GroupTable, group_table
from lwdna.reports.curves import curves
from lwdna.reports.formats import (
    format_change,
    format_count,
    format_difference,
    format_metric,
    format_tick,
)
from lwdna.reports.pages import render
from lwdna.reports.provenance import flat
from lwdna.reports.records import ArchitectureRecord, GroupRecord, Record
from lwdna.reports.run_files import read_record, read_text, read_training
from lwdna.reports.tables import Figures, stage_table
from lwdna.reports.verdict import cost_in_words, not_finite
from lwdna.run_folder import ARCHITECTURE, RECIPE, REPORT, SLIM_RECORD

DENSE, TUNED = "dense", "tuned"


class StageRecord(Record):
    """The network at one stage: as it was given, sliced, recalibrated or tuned."""

    name: str
    metrics: dict[str, Any] = Field(default_factory=dict)
    macs: int | None = None
    params: int | None = None
    latency_ms: float | None = None
    file_bytes: int | None = None

    @property
    def figures(self) -> dict[str, Any]:
        """All that is known, by the names of ``results.json``."""
        known = self.model_dump(exclude={"name", "metrics"}, exclude_none=True)
        return {**self.metrics, **known}


class SlimGroup(Record):
    """Units of a group in the dense network and in the slim one."""

    name: str
    dense: int
    found: int


class RoundRecord(Record):
    """The network after a round of removing units, recalibrated."""

    macs: int
    params: int
    metrics: dict[str, Any] = Field(default_factory=dict)


class SlimRecord(Record):
    """``slim.json``."""

    stages: tuple[StageRecord, ...] = Field(min_length=1)
    metric: str
    metrics: tuple[Metric, ...] = ()
    groups: tuple[SlimGroup, ...] = ()
    budget: Any = None
    criterion: Any = None
    keep: Any = None
    schedule: Any = None
    examples: int | None = None
    """Of the validation set."""
    rounds: tuple[RoundRecord, ...] = ()
    seed: int | None = None
    versions: dict[str, Any] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)

    @property
    def primary(self) -> Metric:
        """The metric by which the stages are compared."""
        return described(self.described)[0]

    @property
    def described(self) -> dict[str, Any]:
        """What the metrics are, as in ``results.json``."""
        return {"metric": self.metric, "metrics": self.metrics}

    def stage(self, name: str) -> StageRecord | None:
        """Return a stage by its name."""
        return next((one for one in self.stages if one.name == name), None)

    def value(self, metrics: Mapping[str, Any]) -> float:
        """Return the primary metric among ``metrics``, NaN if it is not known."""
        found = metrics.get(self.primary.name)
        return float(found) if isinstance(found, int | float) else math.nan


def write_slim(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a slim run as one HTML file without outside parts.

    Args:
        folder: holds ``slim.json``.
        out: the file to write, ``report.html`` in the folder by default.

    Raises:
        FileError: a file is missing or damaged, or the page cannot be written.
    """
    record = read_record(SlimRecord, folder / SLIM_RECORD)
    tuning = read_training(folder, ".")
    if record.examples is None and tuning is not None and tuning.results is not None:
        examples = tuning.results.figures.get("examples")
        record = record.model_copy(update={"examples": examples})
    if record.stage(DENSE) is None:
        raise FileError(
            f"{folder / SLIM_RECORD} says nothing of the dense network; repeat the step that wrote "
            "it"
        )
    architecture = None
    if (folder / ARCHITECTURE).is_file():
        architecture = read_record(ArchitectureRecord, folder / ARCHITECTURE)
    network = architecture.model if architecture is not None else None
    html = render(
        "slim.html.j2",
        styles=("report.css", "slim.css"),
        script="report.js",
        network=network.name if network is not None else None,
        headline=headline(record),
        evidence=evidence(record),
        notes=_notes(record),
        stages=[one.name for one in record.stages],
        table=stage_table([_whole(record, one) for one in record.stages]),
        picture=picture(record),
        metric=record.primary,
        groups=_groups(record),
        rounds=_rounds(record) if len(record.rounds) > 1 else (),
        panels=curves(None, tuning),
        machine=", ".join(f"{name} {value}" for name, value in flat(record.machine, "")),
        facts=_facts(record, architecture),
        recipe=read_text(folder / RECIPE),
    )
    path = folder / REPORT if out is None else Path(out)
    write_text(path, html)
    return path


def _whole(record: SlimRecord, stage: StageRecord) -> Figures:
    return {**stage.figures, **record.described}


def headline(record: SlimRecord) -> str:
    """Return what was measured of the last stage against the dense network, in a sentence."""
    metric, dense, last = record.primary, record.stage(DENSE), record.stages[-1]
    assert dense is not None
    before, after = (record.value(stage.metrics) for stage in (dense, last))
    cost = cost_in_words(dense.figures, last.figures)
    with_cost = f" with {cost}" if cost else ""
    examples = record.examples
    on = f" on {examples} validation examples" if examples else ""
    if last is dense:
        return f"The dense network reaches {_reached(metric, before)}{on}; it is not slim yet."
    name = "slim network" if last.name == TUNED else f"{last.name} network, not fine-tuned,"
    if not math.isfinite(before) or not math.isfinite(after):
        whose = "dense" if not math.isfinite(before) else "slim"
        return f"The {name} is not comparable: the {metric.title} of the {whose} one is not known."
    gap = round(after - before, metric.digits)
    values = f"{_reached(metric, after)}, {format_metric(before, metric)} before"
    if gap == 0:
        return f"The {name} is as good as the dense one{on}{with_cost}: {values}."
    size = format_difference(abs(gap), metric, signed=False)
    word = "better" if metric.better(after, before) else "worse"
    return f"The {name} is {size} {word} than the dense one{on}{with_cost}: {values}."


def evidence(record: SlimRecord) -> str:
    """Return how far the headline can be trusted."""
    seed = f" (seed {record.seed})" if record.seed is not None else ""
    said = f"One network, made slim once{seed}: results also differ from seed to seed."
    dense, last, examples = record.stage(DENSE), record.stages[-1], record.examples
    metric = record.primary
    if dense is None or not examples or "accuracy" not in metric.title or metric.unit != "%":
        return said
    values = [record.value(stage.metrics) for stage in (dense, last)]
    if not all(map(math.isfinite, values)):
        return said
    error = math.sqrt(sum(value * (100 - value) for value in values) / examples)
    return (
        f"{said} With so many validation examples, such a difference has a standard "
        f"error of {format_difference(error, metric, signed=False)} if the two err independently, "
        "less if they err alike."
    )


def _reached(metric: Metric, value: float) -> str:
    return f"{metric.title} {format_metric(value, metric)}"


def _notes(record: SlimRecord) -> list[str]:
    said = ((one.name, not_finite(_whole(record, one))) for one in record.stages)
    return [f"{name}: {sentence}" for name, sentence in said if sentence]


@dataclass(frozen=True)
class Stop:
    """A stage in the picture: places between 0 and 1, and its value."""

    name: str
    x: float
    y: float
    text: str
    below: bool
    """Whether its value stands below it, because the lines come from above."""


@dataclass(frozen=True)
class Slope:
    """The metric from stage to stage."""

    stops: list[Stop]
    ticks: list[Tick]
    dense: float
    """Where the dense network's value lies."""


def picture(record: SlimRecord) -> Slope | None:
    """Lay out the metric of every stage; None where there are not two to compare."""
    metric = record.primary
    values = [(one.name, record.value(one.metrics)) for one in record.stages]
    known = [(name, value) for name, value in values if math.isfinite(value)]
    if len(known) < 2 or known[0][0] != DENSE:
        return None
    axis = axis_around([value for _, value in known])
    stops = []
    for number, (name, value) in enumerate(known):
        beside = [other for _, other in known[max(number - 1, 0) : number + 2]]
        x = (number + 0.5) / len(known)
        below = value == min(beside) < max(beside)
        stops.append(Stop(name, x, axis.position(value), format_metric(value, metric), below))
    return Slope(stops, axis.ticks(format_tick), stops[0].y)


def _groups(record: SlimRecord) -> GroupTable | None:
    groups = [
        GroupRecord(name=one.name, baseline=one.dense, found=one.found) for one in record.groups
    ]
    return group_table(groups) if groups else None


def _rounds(record: SlimRecord) -> Sequence[tuple[str, ...]]:
    """Return a line per round: MACs, parameters, each with its change, and the metric."""
    dense = record.stage(DENSE)
    macs, params = (dense.macs, dense.params) if dense is not None else (None, None)
    return [
        (
            format_count(one.macs),
            format_change(macs, one.macs),
            format_count(one.params),
            format_change(params, one.params),
            format_metric(record.value(one.metrics), record.primary),
        )
        for one in record.rounds
    ]


def _facts(record: SlimRecord, architecture: ArchitectureRecord | None) -> list[tuple[str, str]]:
    network = architecture.model if architecture is not None else None
    size = architecture.input_size if architecture is not None else None
    told = {"budget": record.budget, "criterion": record.criterion, "keep": record.keep}
    told["schedule"] = record.schedule
    known = {name: value for name, value in told.items() if value not in (None, {}, "")}
    return [
        *([("network", network.name)] if network is not None else []),
        *(flat(network.args, "network argument") if network is not None else []),
        *([("input size", describe(size, times=" × "))] if size else []),
        *((name.replace(".", " "), value) for name, value in flat(known, "")),
        *([("seed", str(record.seed))] if record.seed is not None else []),
        *flat(record.versions, "version of"),
    ]
