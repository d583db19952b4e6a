"""What handing out a cell costs: many cells whose training is one small file, by executor.

    python benchmarks/executors.py --cells 10000

Everything else is that of a comparison: recipes, folders, locks, the queue, the page on progress.
Prints a table and writes ``benchmarks/results/executors.json``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray

from lwdna.engine import machine, versions
from lwdna.files import write_json
from lwdna.recipe import load_recipe
from lwdna.run_folder import CELLS, RESULTS, TRAINING
from lwdna.run_options import LOCAL, RunOptions
from lwdna.workflows.board import shown
from lwdna.workflows.cells import Cell, cells_of, jobs_for
from lwdna.workflows.executors import opened
from lwdna.workflows.queue import work_through

SEED = 0
ARMS = {"baseline": None, "uniform": {"criterion": "uniform"}}


def tiny(out: Path, job: Cell, name: str) -> None:
    """Train nothing; leave what says that a cell is finished."""
    place = job.folder / TRAINING
    place.mkdir(parents=True, exist_ok=True)
    (place / RESULTS).write_text(f'{{"seed": {job.seed}}}\n')


def measured(executor: str, count: int) -> dict[str, Any]:
    """Return how long it takes to hand out and to do ``count`` tiny cells."""
    recipe = load_recipe("digits", [f"seed={SEED}"])
    compare = recipe.compare.model_copy(update={"seeds": count // len(ARMS), "arms": ARMS})
    recipe = recipe.model_copy(update={"compare": compare})
    options = replace(RunOptions(), executor=executor)
    with tempfile.TemporaryDirectory() as folder, opened(options, Path(folder)) as workers:
        work = partial(tiny, Path(folder))
        if workers is not None:  # each worker imports torch once
            first = recipe.model_copy(update={"seed": count})
            work_through(jobs_for(cells_of(first, Path(folder, "first"))[:64]), work, workers)
        out, start = Path(folder, "study"), time.perf_counter()
        (out / CELLS).mkdir(parents=True)
        jobs = jobs_for(cells_of(recipe, out))
        with shown(jobs, out, table=False):
            left = work_through(jobs, work, workers)
        seconds = time.perf_counter() - start
        assert not left.held
        assert not left.faults
        done = len(list(out.glob(f"{CELLS}/*/*/{TRAINING}/{RESULTS}")))
        assert done == len(jobs) == count
    load = os.getloadavg()[0]
    return {
        "cells": count,
        "seconds": round(seconds, 2),
        "ms_per_cell": round(1e3 * seconds / count, 3),
        "load_average": round(load, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=10000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/executors.json"))
    arguments = parser.parse_args()
    found = {name: measured(name, arguments.cells) for name in (LOCAL, "ray")}
    print(f"{'executor':10}{'cells':>8}{'seconds':>10}{'ms per cell':>13}{'load':>7}")
    for name, row in found.items():
        print(
            f"{name:10}{row['cells']:8}{row['seconds']:10.1f}{row['ms_per_cell']:13.2f}"
            f"{row['load_average']:7.1f}"
        )
    about = {"versions": {**versions(), "ray": version("ray")}, "machine": machine()}
    write_json(arguments.out, {"seed": SEED, "executors": found, **about})
    assert not ray.is_initialized()


if __name__ == "__main__":
    main()
