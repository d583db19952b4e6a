"""What the command line does, as functions: one file per verb."""

from lwdna.workflows.evaluation import evaluate_run
from lwdna.workflows.quickstart import run_job
from lwdna.workflows.search import SEARCH_FILES, run_search
from lwdna.workflows.training import run_training

__all__ = ["SEARCH_FILES", "evaluate_run", "run_job", "run_search", "run_training"]
