"""Training and evaluation: one loop for every task, on as many processes as are launched."""

from lwdna.engine.evaluation import evaluate
from lwdna.engine.latency import measure_latency
from lwdna.engine.latency_model import LatencyModel
from lwdna.engine.log import read_metrics
from lwdna.engine.machine import machine, versions
from lwdna.engine.settings import TrainSettings
from lwdna.engine.signals import TrainingInterrupted
from lwdna.engine.state import last_checkpoint
from lwdna.engine.task import Task
from lwdna.engine.training import TrainResult, train

__all__ = [
    "LatencyModel",
    "Task",
    "TrainResult",
    "TrainSettings",
    "TrainingInterrupted",
    "evaluate",
    "last_checkpoint",
    "machine",
    "measure_latency",
    "read_metrics",
    "train",
    "versions",
]
