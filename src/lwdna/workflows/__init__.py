"""What the command line does, as functions: one file per verb."""

from lwdna.workflows.compare import run_comparison
from lwdna.workflows.evaluation import evaluate_run
from lwdna.workflows.files import ARCHITECTURE, WEIGHTS, find_weights
from lwdna.workflows.inspection import added_latency, trace_network
from lwdna.workflows.quickstart import run_job
from lwdna.workflows.restoration import restore_images
from lwdna.workflows.search import run_search
from lwdna.workflows.training import run_training

__all__ = [
    "ARCHITECTURE",
    "WEIGHTS",
    "added_latency",
    "evaluate_run",
    "find_weights",
    "restore_images",
    "run_comparison",
    "run_job",
    "run_search",
    "run_training",
    "trace_network",
]
