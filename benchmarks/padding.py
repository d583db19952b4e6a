"""How long a training step takes at odd widths, and at odd widths padded in memory.

    python benchmarks/padding.py cifar100/resnet20-gpu data.root=/data/cifar100
    python benchmarks/padding.py RECIPE --architecture runs/x/architecture.lwdna.json

Trains a recipe's baseline, a network of odd widths, and the same padded in memory
(``train.pad_channels``), in turns, each for a few epochs of which the last one counts. Without an
architecture the odd network has the baseline's widths, each one or three units more or less, so
that its cost is nearly the baseline's. Ratios are those of one turn, of which the median is given.
Prints a table, writes ``results/padding-NAME-DEVICE.json`` beside this file. Run it on a quiet
machine.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from torch import nn

from lwdna.architecture import Architecture
from lwdna.channels import resize, trace
from lwdna.engine import Task, TrainSettings, machine, read_metrics, train, versions
from lwdna.engine.device import make_accelerator
from lwdna.files import write_json
from lwdna.inputs import zeros
from lwdna.recipe import load_recipe
from lwdna.workflows.setup import baseline_architecture, make_task

ARMS = ("baseline", "odd", "padded")


def main() -> None:
    arguments = parse()
    recipe = load_recipe(arguments.recipe, arguments.overrides)
    task = make_task(recipe)
    baseline = baseline_architecture(recipe, task, trust_code=False)
    odd = Architecture.load(arguments.architecture) if arguments.architecture else None
    device = make_accelerator("no").device
    name = Path(arguments.recipe).stem
    out = arguments.out or Path(__file__).parent / "results" / f"padding-{name}-{device.type}.json"
    report: dict[str, Any] = {
        "recipe": arguments.recipe,
        "overrides": arguments.overrides,
        "model": recipe.model.name,
        "multiple": arguments.multiple,
        "batch": min(recipe.train.batch_size, task.train_size),
        "device": device.type,
        "seed": 0,
        "versions": versions(),
        "machine": machine(),
        "groups": {},
    }
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for turn in range(arguments.repeats):
        for arm in ARMS:
            network = baseline.build(seed=0) if arm == "baseline" else odd_network(baseline, odd)
            multiple = arguments.multiple if arm == "padded" else None
            found, groups = step_time(network, task, recipe.train, arguments.epochs, multiple)
            times[arm].append(found)
            report["groups"] |= groups
            print(f"turn {turn + 1}: {arm} {found:.3f} ms", flush=True)
        write_json(out, report | summary(times))
    figures = summary(times)
    print("| network | step (ms) | to the baseline | to odd widths |\n|---|---:|---:|---:|")
    for arm in ARMS:
        ratios = " | ".join(f"{figures[key][arm]:.2f}" for key in ("to_baseline", "to_odd"))
        print(f"| {arm} | {figures['step_ms'][arm]} | {ratios} |")
    print(f"written to {out}")


def odd_network(baseline: Architecture, given: Architecture | None) -> nn.Module:
    if given:
        return given.build(seed=0)
    network = baseline.build(seed=0)
    graph = trace(network, zeros(baseline.input_size, baseline.input_types))
    draw = random.Random(0)
    widths = {
        name: max(1, width + draw.choice((-3, -1, 1, 3))) for name, width in graph.widths.items()
    }
    return resize(network, graph, widths, seed=0)


def step_time(
    network: nn.Module, task: Task, protocol: TrainSettings, epochs: int, multiple: int | None
) -> tuple[float, dict[str, int]]:
    """Return milliseconds per step of the last epoch, and how many groups were padded."""
    settings = protocol.model_copy(
        update={
            "epochs": epochs,
            "schedule": "constant",
            "warmup_epochs": 0,
            "checkpoint_every": None,
            "pad_channels": multiple,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        trained = train(network, task, settings, folder, seed=0, evaluate=False)
        rate = read_metrics(folder)[-1]["images_per_second"]
    milliseconds = 1000 * min(settings.batch_size, task.train_size) / rate
    if trained.padding is None:
        return milliseconds, {}
    padding = trained.padding
    return milliseconds, {"padded": len(padding.padded), "left_odd": len(padding.left)}


def summary(times: dict[str, list[float]]) -> dict[str, Any]:
    def ratios(to: str) -> dict[str, float]:
        return {
            arm: round(median(a / b for a, b in zip(found, times[to], strict=True)), 3)
            for arm, found in times.items()
        }

    return {
        "step_ms": {arm: round(median(found), 3) for arm, found in times.items()},
        "to_baseline": ratios("baseline"),
        "to_odd": ratios("odd"),
        "all": {arm: [round(one, 3) for one in found] for arm, found in times.items()},
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="a file, or the name of one that comes with lwdna")
    parser.add_argument("overrides", nargs="*", help="values such as train.batch_size=256")
    parser.add_argument("--architecture", type=Path, help="of the odd network")
    parser.add_argument("--multiple", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3, help="per training; the last one counts")
    parser.add_argument("--repeats", type=int, default=3, help="turns; each is written at once")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
