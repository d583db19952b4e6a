"""Training and evaluation: one loop for every task, on as many processes as are launched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.engine.evaluation import evaluate
    from lwdna.engine.latency import measure_latency
    from lwdna.engine.latency_model import LatencyModel
    from lwdna.engine.log import read_metrics
    from lwdna.engine.machine import machine, versions
    from lwdna.engine.recalibrate import recalibrate
    from lwdna.engine.settings import TrainSettings
    from lwdna.engine.signals import TrainingInterrupted
    from lwdna.engine.task import Metric, Task
    from lwdna.engine.training import TrainResult, train

__all__ = [
    "LatencyModel",
    "Metric",
    "Task",
    "TrainResult",
    "TrainSettings",
    "TrainingInterrupted",
    "evaluate",
    "machine",
    "measure_latency",
    "read_metrics",
    "recalibrate",
    "train",
    "versions",
]

export_lazily(
    __name__,
    {
        "lwdna.engine.evaluation": ("evaluate",),
        "lwdna.engine.latency": ("measure_latency",),
        "lwdna.engine.latency_model": ("LatencyModel",),
        "lwdna.engine.log": ("read_metrics",),
        "lwdna.engine.machine": (
            "machine",
            "versions",
        ),
        "lwdna.engine.recalibrate": ("recalibrate",),
        "lwdna.engine.settings": ("TrainSettings",),
        "lwdna.engine.signals": ("TrainingInterrupted",),
        "lwdna.engine.task": ("Metric", "Task"),
        "lwdna.engine.training": (
            "TrainResult",
            "train",
        ),
    },
)
