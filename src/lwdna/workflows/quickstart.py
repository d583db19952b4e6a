"""``lwdna quickstart``: the whole job, from a recipe to a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lwdna.architecture import Architecture
from lwdna.engine import last_checkpoint
from lwdna.errors import CheckpointError
from lwdna.files import read_json, write_json
from lwdna.recipe import Recipe
from lwdna.reports import write_report
from lwdna.workflows.search import SEARCH_FILES, run_search
from lwdna.workflows.training import run_training


def run_job(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    progress: bool = False,
    trust_code: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Search, train baseline and result with the same protocol, write the report.

    Args:
        recipe: the experiment.
        out: gets ``search/``, ``baseline/``, ``lwdna/``, ``results.json`` and ``report.html``.
        resume: go on with a job that was stopped; finished parts are not repeated.
        progress: show progress bars.
        trust_code: allow a baseline whose source imports Python code.
        say: told what is being done.

    Returns:
        The path of the report.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()) and not resume:
        raise CheckpointError(
            f"{out} is not empty; go on with its job (--resume) or choose another folder (--out)"
        )
    file = out / "search" / SEARCH_FILES[0]
    if not file.exists():
        say("searching for the width of every layer")
        run_search(recipe, out / "search", trust_code=trust_code)
    results: dict[str, Any] = {}
    architectures = {"baseline": None, "lwdna": Architecture.load(file)}
    for name, architecture in architectures.items():
        finished = out / name / "results.json"
        if finished.exists():
            results[name] = read_json(finished)
            continue
        say(f"training {'the baseline' if name == 'baseline' else 'the network found'}")
        results[name] = run_training(
            recipe,
            out / name,
            name=name,
            architecture=architecture,
            resume=last_checkpoint(out / name).exists(),
            progress=progress,
            trust_code=trust_code,
        )
    write_json(out / "results.json", results)
    return write_report(out)
