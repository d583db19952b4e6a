"""How well do small trackers follow targets that they were not trained on?

    python benchmarks/trackers.py --data DATA [--recipes tracking/siamese_tiny] [--seeds 11 12 13]

``DATA`` holds the folder ``tracking``: ten short sequences with eleven targets. Each recipe is
trained on one half of them by ``lwdna train`` and judged on the other, both ways round, ``--jobs``
trainings at a time; finished runs in ``--out`` are not repeated. Beside them stands the same
network with weights as drawn. Prints the success AUC in % by the rules of OTB, writes
``benchmarks/results/trackers.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from lwdna.engine import evaluate, machine, versions
from lwdna.files import write_json
from lwdna.recipe import load_recipe
from lwdna.workflows.setup import make_baseline, make_source, make_task

FIRST = "Bag, Car4, Couple, Football1, Mohiniyattam"
SECOND = "Car, CarChase2, Crossing, Jogging, Jogging-2, MotorRolling"
HALVES = {"first": (SECOND, FIRST), "second": (FIRST, SECOND)}
"""By the half that judges: names of the sequences to train on and to validate on."""
RESULTS = Path(__file__).parent / "results" / "trackers.json"


def overrides(data: Path, half: str, seed: int) -> list[str]:
    """Return what a recipe needs to know of data and seed."""
    train, val = (f"[{{sequences: [{names}]}}]" for names in HALVES[half])
    root = f"data.root={data / 'tracking'}"
    return [root, f"data.train={train}", f"data.val={val}", "data.workers=1", f"seed={seed}"]


def trained(recipe: str, half: str, seed: int, data: Path, out: Path) -> float:
    """Return the success AUC after training, in %."""
    run = out / recipe / f"{half}-{seed}"
    if not (run / "results.json").is_file():
        command = [sys.executable, "-m", "lwdna", "train", recipe, *overrides(data, half, seed)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*command, "--out", str(run)], check=True, env=environment)
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return float(results["success"])


def untrained(name: str, half: str, data: Path) -> float:
    """Return the success AUC with weights as drawn, in %."""
    recipe = load_recipe(name, overrides(data, half, seed=0))
    task = make_task(recipe)
    network = make_baseline(recipe, make_source(recipe, task), trust_code=False)
    return evaluate(network, task, batch_size=1)["success"]


def main() -> None:
    """Train what is missing, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--recipes", nargs="+", default=["tracking/tiny", "tracking/siamese_tiny"], metavar="RECIPE"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[11, 12, 13])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/trackers"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data, out = arguments.data.resolve(), arguments.out
    cells = [(r, h, s) for r in arguments.recipes for h in HALVES for s in arguments.seeds]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        found = dict(
            zip(cells, pool.map(lambda cell: trained(*cell, data, out), cells), strict=True)
        )
    rows = []
    print("| recipe | judged on the | untrained | trained | by seed |\n|---|---|---:|---:|---|")
    for recipe in arguments.recipes:
        for half in HALVES:
            values = [found[recipe, half, seed] for seed in arguments.seeds]
            row = {"recipe": recipe, "half": half, "untrained": untrained(recipe, half, data)}
            rows.append({**row, "success": dict(zip(arguments.seeds, values, strict=True))})
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            print(
                f"| {recipe} | {half} half | {row['untrained']:.1f} "
                f"| {statistics.mean(values):.1f}{spread} "
                f"| {', '.join(f'{value:.1f}' for value in values)} |",
                flush=True,
            )
    write_json(arguments.results, {"rows": rows, "versions": versions(), "machine": machine()})
    print(f"written to {arguments.results}")


if __name__ == "__main__":
    main()
