"""How short may a trial be? Networks of equal cost, trained for the whole schedule and for less.

    python benchmarks/trial_length.py evidence/resnet20 --data DATA [--networks 20]
    python benchmarks/trial_length.py evidence/resnet20 --data DATA --analyse

``DATA`` holds the data sets' folders, as for ``evidence.py``. Draws networks around the baseline
(the baseline first) that cost at most its MACs and 1.5 times its parameters: the logarithms of the
widths are Gaussian with a standard deviation of 0.4, the more correlated the more two groups are
alike, and one factor for all meets the budget. Trains each as every one of :data:`VARIANTS` says
and writes a line per training to ``benchmarks/results/trial_length/<recipe>.jsonl``; trainings that
have a line are not repeated. Each training has a seed of its own. Validation images judge the
whole trainings only. A whole training's beginning is what a schedule that is cut would have seen,
so that variant needs no training of its own.

``--analyse`` trains nothing. To every kind of trial it fits the law by which a search chooses
(``lwdna.methods.trials``), takes the network that the search would choose, and asks the laws of the
whole trainings (of the training loss, of the validation error) how much of their own choice's gain
that one keeps. It prints a table and writes ``<recipe>.json`` beside the lines.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lwdna.channels import ChannelGraph, resize, trace
from lwdna.engine import machine, train, versions
from lwdna.files import write_json
from lwdna.methods.limits import FloatArray, IntArray
from lwdna.recipe import Recipe, change_recipe, load_recipe
from lwdna.workflows.setup import make_baseline, make_source, make_task
from trial_length_analysis import analyse, table
from trial_length_networks import drawn

RESULTS = Path(__file__).parent / "results" / "trial_length"
PARTS = 64
"""Points of a curve, each the mean training loss of as many steps."""
VARIANTS = ("whole", "compressed 1/4", "compressed 1/2", "half the images", "smaller images")
"""Compressed: the same schedule in fewer epochs. Half the images: as many epochs of the first half
of each class. Smaller images: 7/8 of the side, 3/4 of the pixels."""


def main() -> None:
    """Train what is missing, then analyse what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="as lwdna takes it")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--folder", default="cifar100", help="the recipe's, below that")
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="+", default=[], help="values of the recipe")
    parser.add_argument("--analyse", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    overrides = [f"data.root={arguments.data / arguments.folder}", f"seed={arguments.seed}"]
    recipe = load_recipe(arguments.recipe, [*overrides, "data.workers=0", *arguments.set])
    out = RESULTS / f"{Path(arguments.recipe).stem}.jsonl"
    graph = trace_baseline(recipe)
    if not arguments.analyse:
        networks = drawn(graph, arguments.networks, arguments.seed)
        for variant in arguments.variants:
            collect(variant, recipe, networks, out)
    lines = read(out)
    rows = analyse(lines, graph)
    print("\n".join(table(rows)))
    write_json(out.with_suffix(".json"), record(recipe, lines, rows))


def record(recipe: Recipe, lines: list[dict[str, Any]], rows: Any) -> dict[str, Any]:
    """Return what the analysis found with what it was made with."""
    used = recipe.model_dump(mode="json")
    used["data"].pop("root")
    return {
        "recipe": used,
        "seed": recipe.seed,
        "trainings": len(lines),
        "hours": sum(line["seconds"] for line in lines) / 3600,
        "versions": versions(),
        "machine": machine(),
        "rows": rows,
    }


def trace_baseline(recipe: Recipe) -> ChannelGraph:
    """Return the channel graph of the recipe's baseline."""
    task = make_task(recipe)
    model = make_baseline(recipe, make_source(recipe, task), False)
    return trace(model, task.example_inputs())


def varied(recipe: Recipe, variant: str) -> Recipe:
    """Return the recipe of one kind of training."""
    changes: dict[str, Any] = {"train.eval_every": recipe.train.epochs}
    if variant.startswith("compressed"):
        share = 1 / int(variant[-1])
        epochs = recipe.train.epochs * share
        if epochs != int(epochs):
            raise SystemExit(f"{recipe.train.epochs} epochs have no whole {variant[-3:]}")
        changes["train.epochs"] = int(epochs)
        changes["train.warmup_epochs"] = recipe.train.warmup_epochs * share
    if variant == "half the images":
        task = make_task(recipe)
        changes["data.train_limit"] = task.train_size // len(task.class_names) // 2
    if variant == "smaller images":
        changes["data.image_size"] = round(recipe.data.image_size * 7 / 8)
    return change_recipe(recipe, changes, variant)


def collect(variant: str, recipe: Recipe, networks: IntArray, out: Path) -> None:
    """Train the networks that have no line of this variant yet, and write their lines."""
    done = {line["number"] for line in read(out) if line["variant"] == variant}
    recipe = varied(recipe, variant)
    task = make_task(recipe)
    model = make_baseline(recipe, make_source(recipe, task), False)
    graph = trace(model, task.example_inputs())
    for number, row in enumerate(networks.tolist()):
        if number in done:
            continue
        own = [recipe.seed, number, VARIANTS.index(variant)]
        seed = int(np.random.SeedSequence(own).generate_state(1)[0])
        network = resize(model, graph, dict(zip(graph.widths, row, strict=True)), seed=seed)
        folder = tempfile.mkdtemp()
        start = time.process_time()
        whole = variant == "whole"
        found = train(network, task, recipe.train, folder, seed=seed, evaluate=whole)
        shutil.rmtree(folder)
        line = {
            "variant": variant,
            "number": number,
            "seed": seed,
            "seconds": round(time.process_time() - start, 2),
            "widths": row,
            "curve": [round(float(part.mean()), 5) for part in parts(found.losses)],
            **{name: round(value, 5) for name, value in found.metrics.items()},
        }
        append(out, line)
        print(f"{out.stem}, {variant}, {number}: {line['seconds']} s, {line['curve'][-1]}")


def parts(losses: tuple[float, ...]) -> Iterator[FloatArray]:
    """Yield the losses of every part of the curve."""
    yield from np.array_split(np.array(losses), PARTS)


def append(out: Path, line: dict[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read(out: Path) -> list[dict[str, Any]]:
    """Return the lines that are there."""
    if not out.is_file():
        return []
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
