"""Where the central parts of a comparison saturate, with a folder of up to 10,000 cells.

    python benchmarks/many_cells.py
    python benchmarks/many_cells.py --sizes 100 1000 --examples 50000

Two cells are trained for real (digits, one epoch); their files then stand for those of all others,
with outcomes drawn anew: half as many arms as seeds, or twice. One cell of ten is only begun, and
one of a hundred is held by somebody. Timed are

- ``jobs``: from the recipe to the list of cells, what every process does once;
- ``scan``: a process looks for work in the folder and finds none (what is unfinished is held);
- ``claim``: a lock taken and given back, what each cell costs beside its work;
- ``read``: all finished cells read;
- ``judge``: differences, intervals and verdicts, on the whole validation set and on its halves;
- ``write``: ``results.json``, ``timings.json`` and the page.

Everything happens in one process. Prints a table with how times grow with the cells (the power of
their number) and writes ``results/many_cells.json`` beside this file.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lwdna.arms import CompareSettings
from lwdna.arrays import write_arrays
from lwdna.engine import machine, versions
from lwdna.engine.claims import claimed
from lwdna.files import write_json, write_text
from lwdna.recipe import Recipe, load_recipe
from lwdna.reports import study_page
from lwdna.run_folder import (
    CLAIM,
    OUTCOMES,
    RECIPE,
    REPORT,
    RESULTS,
    SEARCH,
    TRAINING,
    cell_folder,
)
from lwdna.workflows import run_comparison
from lwdna.workflows.cells import Job, cells_of, jobs_for
from lwdna.workflows.queue import work_through

SIZES = (625, 2_500, 10_000)
VARIANTS = 53
"""Different outcomes that there are; cells share the files of one."""
CLAIMS = 500
SEED = 1
RESULTS_FILE = Path(__file__).parent / "results" / "many_cells.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--examples", type=int, default=10_000, help="of the validation set")
    parser.add_argument("--out", type=Path, default=RESULTS_FILE)
    arguments = parser.parse_args()
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        samples = Samples(Path(folder) / "samples", arguments.examples)
        for size in arguments.sizes:
            found[size] = timed(samples, Path(folder) / str(size), size)
            print(f"{size} cells: {found[size]}", flush=True)
            shutil.rmtree(Path(folder) / str(size))
    print(table(found))
    said = {"examples": arguments.examples, "seed": SEED, "claims": CLAIMS}
    whole = {**said, "versions": versions(), "machine": machine(), "cells": found}
    write_json(arguments.out, whole)
    print(f"written to {arguments.out}")


class Samples:
    """Cells that stand for all others."""

    def __init__(self, folder: Path, examples: int) -> None:
        changes = ["train.epochs=1", "data.train_limit=64", "compare.seeds=1"]
        recipe = load_recipe("digits", changes)
        arms = {"baseline": None, "lwdna": {}}
        compare = CompareSettings(seeds=1, arms=arms)
        self.recipe: Recipe = recipe.model_copy(update={"compare": compare})
        run_comparison(self.recipe, folder / "study")
        self.folders = {
            arm: [self._variant(folder, arm, number, examples) for number in range(VARIANTS)]
            for arm in arms
        }

    def _variant(self, folder: Path, arm: str, number: int, examples: int) -> Path:
        """Return a copy of a trained cell with outcomes of its own."""
        cell = cell_folder(folder / "study", arm, self.recipe.seed)
        place = folder / arm / str(number)
        shutil.copytree(cell, place, ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
        results = json.loads((place / TRAINING / RESULTS).read_text())
        draws = np.random.default_rng([SEED, number, arm == "baseline"])
        right = 100.0 * (draws.random(examples) < 0.7 + 0.01 * draws.random())
        outcomes = {one["name"]: right.astype(np.float32) for one in results["metrics"]}
        write_arrays(place / TRAINING / OUTCOMES, outcomes)
        means = {name: float(values.mean()) for name, values in outcomes.items()}
        write_json(place / TRAINING / RESULTS, {**results, **means, "examples": examples})
        return place


def timed(samples: Samples, out: Path, size: int) -> dict[str, float]:
    """Make a comparison of ``size`` cells and time what is central to it, in seconds."""
    recipe = made(samples, out, size)
    figures: dict[str, float] = {}
    with clock(figures, "jobs"):
        jobs = jobs_for(cells_of(recipe, out))
    held = [job.folder for job in jobs if not job.finished]

    def nothing(job: Job, name: str) -> None:
        """Leave a job as it is."""

    with clock(figures, "scan"):
        work_through(jobs, nothing)
    with clock(figures, "claim"):
        for number in range(CLAIMS):
            with claimed(held[number % len(held)] / CLAIM, lambda: False):
                pass
    figures["claim"] = round(figures["claim"] / CLAIMS, 6)
    with (
        clocked(study_page, "read_cells", figures, "read"),
        clocked(study_page.study, "judge", figures, "judge"),
        clock(figures, "report"),
    ):
        study_page.write_comparison(out)
    figures["write"] = round(figures.pop("report") - figures["read"] - figures["judge"], 4)
    for name in (RESULTS, REPORT):
        figures[f"{name}, MB"] = round((out / name).stat().st_size / 1e6, 3)
    return figures


def made(samples: Samples, out: Path, size: int) -> Recipe:
    """Write a comparison of about ``size`` cells, one of ten unfinished; return its recipe."""
    arms = max(2, round(math.sqrt(size / 4)) * 2)
    names = ["baseline", "lwdna", *(f"arm{number}" for number in range(2, arms))]
    changes = {name: None if name == "baseline" else {} for name in names}
    compare = CompareSettings(seeds=max(1, size // arms), arms=changes)
    recipe = samples.recipe.model_copy(update={"compare": compare})
    out.mkdir()
    write_text(out / RECIPE, recipe.to_yaml())
    count = 0
    for place, arm in enumerate(names):
        for seed in range(recipe.seed, recipe.seed + compare.seeds):
            count += 1
            kind = "baseline" if arm == "baseline" else "lwdna"
            sample = samples.folders[kind][(7 * place + seed) % VARIANTS]
            linked(sample, cell_folder(out, arm, seed), finished=count % 10 != 0)
    return recipe


def linked(sample: Path, place: Path, finished: bool) -> None:
    """Make a cell of links to the files of a sample; one that is not finished has no results."""
    for part in (TRAINING, SEARCH):
        if (sample / part).is_dir():
            (place / part).mkdir(parents=True)
            for file in (sample / part).iterdir():
                if finished or file.name != RESULTS:
                    os.link(file, place / part / file.name)


@contextmanager
def clock(figures: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    figures[name] = round(time.perf_counter() - start, 4)


@contextmanager
def clocked(module: Any, function: str, figures: dict[str, float], name: str) -> Iterator[None]:
    """Time what a module calls inside the block."""
    original = getattr(module, function)

    def timed_call(*given: Any) -> Any:
        with clock(figures, name):
            return original(*given)

    setattr(module, function, timed_call)
    try:
        yield
    finally:
        setattr(module, function, original)


def table(found: dict[int, dict[str, Any]]) -> str:
    """Return times by the number of cells, and by which power of it they grow."""
    sizes = sorted(found)
    lines = [
        "| | " + " | ".join(f"{size:,} cells" for size in sizes) + " | power |",
        "|---|" + "---:|" * (len(sizes) + 1),
    ]
    for name in found[sizes[0]]:
        values = [found[size][name] for size in sizes]
        power = (
            "" if len(sizes) < 2 or name == "claim" or min(values) <= 0 else _power(sizes, values)
        )
        lines.append(f"| {name} | " + " | ".join(f"{v:.4g}" for v in values) + f" | {power} |")
    return "\n".join(lines)


def _power(sizes: list[int], values: list[float]) -> str:
    return f"{math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2]):.2f}"


if __name__ == "__main__":
    main()
