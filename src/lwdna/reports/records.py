"""Files of a run as records: what reports know of each."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, model_validator

from lwdna.engine.task import Metric, described


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


class ExampleFigures(Record):
    """``figures.json`` among the examples: how good input and output of each are."""

    metric: Metric
    examples: dict[str, dict[str, FiniteFloat | None]] = {}
    """By name of the example: ``input`` and ``output``."""


class HalfRecord(Record):
    """The training or the validation set, as in ``data.json``."""

    counts: tuple[int, ...] = ()
    """Number of examples of every class."""


class DataRecord(Record):
    """The part of ``data.json`` that a report shows."""

    classes: tuple[str, ...] | None = None
    train: HalfRecord = HalfRecord()
    val: HalfRecord = HalfRecord()
