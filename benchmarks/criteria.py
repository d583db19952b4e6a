"""What every criterion finds on several networks at the same budget, side by side in one picture.

    LWDNA_DATA=data python benchmarks/criteria.py [--networks NAME ...] [--criteria NAME ...]
    python benchmarks/criteria.py --draw

Searches at initialisation, without a warm-up, on two mini-batches of real images below LWDNA_DATA;
each criterion's scores are kept by one threshold, by the knapsack and, where they can be added up,
in proportion (the default). Writes ``benchmarks/results/criteria.json`` after each network and
draws ``docs/criteria.svg`` from it; ``--draw`` only draws.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from criteria_picture import draw
from lwdna.engine import machine, versions
from lwdna.engine.order import train_batches
from lwdna.files import write_json, write_text
from lwdna.methods import search
from lwdna.methods.criteria import CRITERIA
from lwdna.methods.keep import KEEP_RULES
from lwdna.methods.limits import Limits
from lwdna.recipe import Recipe, load_recipe
from lwdna.workflows.setup import make_baseline, make_source, make_task

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "criteria.json"
PICTURE = HERE.parent / "docs" / "criteria.svg"

PHOTOS = ("images", "data.root={data}/imagefolder-tinyimagenet20", "data.image_size=64")
NETWORKS: dict[str, tuple[str, ...]] = {
    "resnet18": (*PHOTOS, "model.name=timm:resnet18", "shrink.batch_size=16"),
    "resnet50": (*PHOTOS, "model.name=timm:resnet50", "shrink.batch_size=16"),
    "mobilenetv2_100": (*PHOTOS, "model.name=timm:mobilenetv2_100", "shrink.batch_size=16"),
    "resnet56_cifar": ("cifar100/resnet56", "data.root={data}/cifar100", "shrink.batch_size=16"),
    "edsr_baseline": (
        "restoration/edsr-x2-short",
        "data.root={data}/restoration",
        "model.name=lwdna:edsr_baseline",
        "model.args={}",
        "data.patch_size=32",
        "shrink.batch_size=2",
    ),
}
SETTINGS = (  # low floors, so that the criteria and not the floors draw the shapes
    "shrink.width_mult=2.0",
    "shrink.budget={macs: 0.92, params: 1.0}",
    "shrink.multiple=1",
    "shrink.floor=0.1",
    "shrink.linear_floor=0.1",
    "shrink.normalize=none",
    "shrink.keep=threshold",
    "shrink.batches=2",
)


def run(recipe: Recipe, criteria: Sequence[str]) -> dict[str, Any]:
    """Search with each criterion and keep by every rule."""
    task = make_task(recipe)
    model = make_baseline(recipe, make_source(recipe, task), trust_code=False)
    order = train_batches(task.train_size, recipe.shrink.batch_size, seed=recipe.seed, epoch=0)
    indices = [batch.tolist() for batch in order[: recipe.shrink.batches]]
    device = torch.device("cpu")
    batches = list(task.train_batches(indices, seed=recipe.seed, epoch=0, device=device))
    result: dict[str, Any] = {"recipe": recipe.model_dump(mode="json"), "found": {}}
    result["recipe"]["data"].pop("root", None)
    for name in criteria:
        settings = recipe.shrink.model_copy(update={"criterion": name})
        start = time.process_time()
        found = search(model, task.example_inputs(), batches, task.loss, settings, seed=recipe.seed)
        seconds = time.process_time() - start
        graph = found.graph
        limits = Limits.of(graph, found.widened, settings.budget)
        widths = {"threshold": found.architecture.widths}
        for rule in ("knapsack", *(() if CRITERIA[name].ranks else ("proportional",))):
            widths[rule] = KEEP_RULES[rule].keep(graph, found.scores, found.least, limits).widths
        result["baseline"] = graph.widths
        result["cost"] = vars(graph.cost())
        result["found"][name] = {
            "cpu_seconds": round(seconds, 2),
            **{
                rule: {"widths": list(one.values()), **vars(graph.cost(one))}
                for rule, one in widths.items()
            },
        }
        print(f"  {name:20} {seconds:8.1f} s", flush=True)
    return result


def main() -> None:
    """Run, write after each network, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--criteria", nargs="+", choices=CRITERIA, default=list(CRITERIA))
    parser.add_argument("--draw", action="store_true", help="only draw what was found before")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"networks": {}}
    if RESULTS.is_file():
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
    data = os.environ.get("LWDNA_DATA", "../shared/data")
    for name in [] if arguments.draw else arguments.networks:
        print(name)
        recipe, *overrides = NETWORKS[name]
        overrides = [override.replace("{data}", data) for override in overrides]
        found = run(load_recipe(recipe, [*overrides, *SETTINGS]), arguments.criteria)
        found["found"] = results["networks"].get(name, {}).get("found", {}) | found["found"]
        results["networks"][name] = {**found, "versions": versions(), "machine": machine()}
        write_json(RESULTS, results)
    shown = {name: results["networks"][name] for name in NETWORKS if name in results["networks"]}
    write_text(PICTURE, draw(shown))
    print(f"written to {RESULTS} and {PICTURE}")


if __name__ == "__main__":
    main()
