"""What the command line does, as functions: one file per verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.workflows.compare import run_comparison
    from lwdna.workflows.evaluation import evaluate_run
    from lwdna.workflows.help import help_search
    from lwdna.workflows.inspection import added_latency, trace_network
    from lwdna.workflows.predict import predict
    from lwdna.workflows.push import push
    from lwdna.workflows.quickstart import run_job
    from lwdna.workflows.restoration import restore_images
    from lwdna.workflows.search import run_search
    from lwdna.workflows.sensitivity import run_sensitivity
    from lwdna.workflows.slim import run_slim
    from lwdna.workflows.track import track_target
    from lwdna.workflows.training import run_training

__all__ = [
    "added_latency",
    "evaluate_run",
    "help_search",
    "predict",
    "push",
    "restore_images",
    "run_comparison",
    "run_job",
    "run_search",
    "run_sensitivity",
    "run_slim",
    "run_training",
    "trace_network",
    "track_target",
]

export_lazily(
    __name__,
    {
        "lwdna.workflows.compare": ("run_comparison",),
        "lwdna.workflows.evaluation": ("evaluate_run",),
        "lwdna.workflows.help": ("help_search",),
        "lwdna.workflows.inspection": (
            "added_latency",
            "trace_network",
        ),
        "lwdna.workflows.predict": ("predict",),
        "lwdna.workflows.push": ("push",),
        "lwdna.workflows.quickstart": ("run_job",),
        "lwdna.workflows.restoration": ("restore_images",),
        "lwdna.workflows.search": ("run_search",),
        "lwdna.workflows.sensitivity": ("run_sensitivity",),
        "lwdna.workflows.slim": ("run_slim",),
        "lwdna.workflows.track": ("track_target",),
        "lwdna.workflows.training": ("run_training",),
    },
)
