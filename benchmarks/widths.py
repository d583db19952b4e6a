"""Train networks of given widths with one recipe's protocol.

    python benchmarks/widths.py RECIPE TRIALS.jsonl --data DATA

``TRIALS`` holds one line of JSON per training: ``{"name": ..., "seed": ..., "widths": {...}}`` with
the widths that differ from the baseline's, as in an architecture file. After each training its line
gets the results, so that the same command goes on after an interruption. Prints the mean
differences to the lines named ``baseline`` with the same seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from lwdna.channels import resize, trace
from lwdna.engine import Task, train
from lwdna.files import write_text
from lwdna.recipe import Recipe, load_recipe
from lwdna.reports.statistics import examples_of
from lwdna.workflows.setup import make_baseline, make_source, make_task


def run(recipe: Recipe, task: Task, trial: dict[str, Any]) -> dict[str, Any]:
    """Train one network and return what it costs and how good it is."""
    model = make_baseline(recipe, make_source(recipe, task), trust_code=False)
    graph = trace(model, task.example_inputs(), recipe.edits)
    network = resize(model, graph, trial["widths"], init="fresh", seed=trial["seed"])
    with tempfile.TemporaryDirectory() as folder:
        found = train(network, task, recipe.train, Path(folder), seed=trial["seed"])
        lines = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    epochs = [json.loads(line) for line in lines]
    cost = graph.cost(trial["widths"])
    halves = {
        half: round(float(found.outcomes[examples_of(half, task.eval_size)].mean()), 2)
        for half in ("choose", "report", "whole")
    }
    return {
        "macs": cost.macs,
        "params": cost.params,
        task.metric.name: halves,
        "val_loss": round(found.metrics["val_loss"], 4),
        "train_loss": [round(epoch["train_loss"], 3) for epoch in epochs],
    }


def table(trials: Sequence[dict[str, Any]], metric: str) -> list[str]:
    """Return a Markdown table of mean differences to the baseline, paired by seed."""
    done = [trial for trial in trials if "result" in trial]
    base = {trial["seed"]: trial["result"] for trial in done if trial["name"] == "baseline"}
    lines = [
        f"| name | seeds | {metric} (choose) | sd | {metric} (whole) | loss | MACs | params |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in dict.fromkeys(trial["name"] for trial in done):
        pairs = [
            (trial["result"], base[trial["seed"]])
            for trial in done
            if trial["name"] == name and trial["seed"] in base
        ]
        if name == "baseline" or not pairs:
            continue
        choose = [one[metric]["choose"] - other[metric]["choose"] for one, other in pairs]
        whole = mean(one[metric]["whole"] - other[metric]["whole"] for one, other in pairs)
        loss = mean(one["val_loss"] - other["val_loss"] for one, other in pairs)
        costs = [mean(one[k] / other[k] - 1 for one, other in pairs) for k in ("macs", "params")]
        spread = f"{stdev(choose):.2f}" if len(choose) > 1 else "–"
        lines.append(
            f"| {name} | {len(pairs)} | {mean(choose):+.2f} | {spread} | {whole:+.2f} "
            f"| {loss:+.3f} | {100 * costs[0]:+.1f} % | {100 * costs[1]:+.1f} % |"
        )
    return lines


def effects(trials: Sequence[dict[str, Any]], metric: str, seed: int) -> list[str]:
    """Return a line per part of a factorial: with the part as found less with the baseline's.

    Names ``factors A--D`` say which parts are as found, each by its letter at its place; the
    baseline has none of them.
    """
    rows = {
        trial["name"].removeprefix("factors "): trial["result"]
        for trial in trials
        if trial["seed"] == seed and trial["name"].startswith("factors ")
    }
    if not rows:
        return []
    base = [t for t in trials if t["name"] == "baseline" and t["seed"] == seed]
    rows["-" * len(next(iter(rows)))] = base[0]["result"]
    lines = ["", f"| part | {metric} (whole) |", "|---|---:|"]
    for place in range(len(next(iter(rows)))):
        parts: dict[bool, list[float]] = {True: [], False: []}
        for name, result in rows.items():
            parts[name[place] != "-"].append(result[metric]["whole"])
        lines.append(f"| {chr(65 + place)} | {mean(parts[True]) - mean(parts[False]):+.1f} |")
    return lines


def main() -> None:
    """Run what is missing, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("trials", type=Path)
    parser.add_argument("--data", type=Path, help="the data set; default: only print the table")
    arguments = parser.parse_args()
    text = arguments.trials.read_text(encoding="utf-8")
    trials = [json.loads(line) for line in text.splitlines() if line.strip()]
    metric = "top1"
    if arguments.data:
        torch.set_num_threads(1)
        where = [f"data.root={arguments.data}", "data.workers=0"]
        task = make_task(load_recipe(arguments.recipe, where))
        metric = task.metric.name
        for trial in trials:
            if "result" not in trial:
                recipe = load_recipe(arguments.recipe, [*where, f"seed={trial['seed']}"])
                trial["result"] = run(recipe, task, trial)
                write_text(arguments.trials, "".join(json.dumps(one) + "\n" for one in trials))
                print(trial["name"], trial["seed"], trial["result"][metric], flush=True)
    print("\n".join([*table(trials, metric), *effects(trials, metric, seed=100)]))


if __name__ == "__main__":
    main()
