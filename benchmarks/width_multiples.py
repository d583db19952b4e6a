"""What do widths in multiples cost? Asks the laws that the searches of the evidence learnt.

    python benchmarks/width_multiples.py

For every recipe with trials in ``benchmarks/results/evidence/`` that has groups of 32 channels or
more: the law is learnt again from the recorded trials, and its best network within the recipe's
budget is taken at any width, at the default (``auto``) and in multiples of 8 and 16 everywhere.
Nothing is trained. Prints a table, writes ``benchmarks/results/width_multiples.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

import lwdna
from lwdna.channels import trace, widened_widths
from lwdna.engine import machine, versions
from lwdna.files import write_json
from lwdna.methods import Budget
from lwdna.methods.grid import WIDE, multiples_of
from lwdna.methods.keep import floors
from lwdna.methods.limits import Limits
from lwdna.methods.space import Space
from lwdna.methods.trials.rounds import by_trials
from lwdna.methods.trials.runs import Trial

RESULTS = Path(__file__).parent / "results"
MULTIPLES = (1, "auto", 8, 16)
CIFAR100 = 100
"""Classes of the recipes that do not choose some."""


def gains(record: dict[str, Any]) -> dict[str, float]:
    """Return by how much log loss falls against the baseline, by multiple."""
    recipe, trials = record["recipe"], record["searches"]["lwdna"]["trials"]
    side, classes = recipe["data"]["image_size"], recipe["data"]["classes"] or CIFAR100
    network = lwdna.create_model(
        recipe["model"]["name"], num_classes=classes, **recipe["model"]["args"]
    )
    graph = trace(network, torch.zeros(1, 3, side, side))
    if max(graph.widths.values()) < WIDE:
        return {}
    widened = widened_widths(graph, recipe["shrink"]["width_mult"])
    limits = Limits.of(graph, widened, Budget(**recipe["shrink"]["budget"]))
    least = floors(graph, widened, recipe["shrink"]["floor"], recipe["shrink"]["linear_floor"])
    found = {}
    for multiple in MULTIPLES:
        space = Space(limits, least, widened, multiples_of(multiple, limits, least, widened))
        known = [Trial(one["widths"], one["loss"], 0.0, []) for one in trials]
        # the networks asked for are those of other multiples; what was trained teaches the law
        chosen, _ = by_trials(
            space, len(known), lambda wanted, first, k=known: k[first : first + len(wanted)], 0
        )
        found[str(multiple)] = round(chosen.gain.mean, 4)
    return found


def main() -> None:
    """Ask all laws, print and write what they say."""
    rows = {}
    for file in sorted((RESULTS / "evidence").glob("evidence-*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        if record["recipe"]["task"] == "classification":
            rows[file.stem] = gains(record)
    print("| recipe | " + " | ".join(map(str, MULTIPLES)) + " |\n|---|" + "---:|" * len(MULTIPLES))
    for name, row in rows.items():
        if row:
            print(f"| {name} | " + " | ".join(f"{row[str(m)]:.2%}" for m in MULTIPLES) + " |")
    record = {"gains": rows, "seed": 0, "versions": versions(), "machine": machine()}
    write_json(RESULTS / "width_multiples.json", record)


if __name__ == "__main__":
    main()
