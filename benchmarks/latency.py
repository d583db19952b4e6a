"""Is the sum of the operators' times the time of the whole network?

    python benchmarks/latency.py [--model timm:resnet18 ...] [--drawn 5] [--threads 1]

For each network, at its own widths and at widths drawn between 0.4 and 1.6 times these: the latency
that the model of operators predicts over the measured one (batch 1). Operators are measured anew,
in a cache of their own. Prints a table, writes ``benchmarks/results/latency.json``. Run it on a
quiet machine.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import lwdna
from lwdna.channels import resize, trace
from lwdna.engine import LatencyModel, machine, measure_latency, versions
from lwdna.files import write_json

MODELS = ("timm:resnet18", "timm:mobilenetv2_100", "timm:resnet50")
RESULTS = Path(__file__).parent / "results" / "latency.json"


def measure(name: str, size: int, drawn: int) -> dict[str, Any]:
    """Return predicted and measured milliseconds at the network's own and at drawn widths."""
    torch.manual_seed(0)
    model = lwdna.create_model(name).eval()
    image = torch.randn(1, 3, size, size)
    graph = trace(model, image)
    start = time.perf_counter()
    predict = LatencyModel(graph)
    seconds = time.perf_counter() - start
    draw = random.Random(0)
    candidates = [dict(graph.widths)]
    for _ in range(drawn):
        fractions = {group.name: draw.uniform(0.4, 1.6) for group in graph.groups}
        candidates.append(
            {name: max(1, round(width * fractions[name])) for name, width in graph.widths.items()}
        )
    rows = []
    for widths in candidates:
        network = resize(model, graph, widths, seed=0)
        sum_ms = float(predict([list(widths.values())])[0])
        rows.append({"sum": sum_ms, "whole": measure_latency(network, image)})
    return {"model": name, "first_measurement_seconds": seconds, "rows": rows}


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=MODELS)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--drawn", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| | sum / whole | at random widths | their median | first measurement |")
    print("|---|---|---|---|---|")
    found = []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        for name in arguments.model:
            found.append(measure(name, arguments.size, arguments.drawn))
            own, *others = (row["sum"] / row["whole"] for row in found[-1]["rows"])
            print(
                f"| {name} | {own:.2f} | {', '.join(f'{ratio:.2f}' for ratio in others)} "
                f"| {statistics.median(others):.2f} "
                f"| {found[-1]['first_measurement_seconds']:.0f} s |",
                flush=True,
            )
    write_json(
        arguments.out,
        {
            "size": arguments.size,
            "threads": arguments.threads,
            "seed": 0,
            "networks": found,
            "versions": versions(),
            "machine": machine(),
        },
    )
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
