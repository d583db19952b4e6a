"""What the search costs next to two plain training iterations of the widened network.

    python benchmarks/shrink.py [--model timm:resnet50] [--batch 8] [--size 224] [--repeats 3]

Each measurement runs in a process of its own, so that its peak memory is its own; plain iterations
and search take turns, and the ratio is taken pair by pair. Prints a table, writes
``benchmarks/results/shrink.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

import lwdna
from lwdna.channels import widened_widths
from lwdna.engine import machine, versions
from lwdna.files import write_json
from lwdna.methods import search

# the ImageNet recipe: two mini-batches, 0.23 of the MACs of the doubled network
SETTINGS = lwdna.ShrinkSettings(
    width_mult=2.0,
    criterion="latent-gradient",
    keep="threshold",
    budget=lwdna.Budget(macs=0.23, of="widened"),
    multiple=1,
    floor=0.4,
    linear_floor=0.45,
    embedding_dim=2,
)


def _loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def measure(what: str, name: str, batch: int, size: int) -> dict[str, Any]:
    """Measure one thing in this process: seconds, peak memory in bytes and what was found."""
    torch.manual_seed(0)
    model = lwdna.create_model(name)
    images, labels = torch.randn(batch, 3, size, size), torch.randint(1000, (batch,))
    batches = [(images, labels), (images.flip(0), labels)]
    found: dict[str, Any] = {}
    if what == "plain":
        graph = lwdna.trace(model, images[:1])
        wide = lwdna.resize(model, graph, widened_widths(graph, SETTINGS.width_mult))
        del model
        optimizer = torch.optim.SGD(wide.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        start = time.perf_counter()
        for data in batches:
            optimizer.zero_grad(set_to_none=True)
            _loss(wide, data).backward()
            optimizer.step()
    elif what == "trace":
        start = time.perf_counter()
        lwdna.trace(model, images[:1])
    else:
        start = time.perf_counter()
        result = search(model, images[:1], batches, _loss, SETTINGS, seed=0)
        arch = result.architecture
        widened = result.graph.cost(result.widened)
        budget = int(0.23 * widened.macs)
        found = {
            "baseline_macs": arch.baseline.macs,
            "baseline_params": arch.baseline.params,
            "widened_macs": widened.macs,
            "budget_macs": budget,
            "found_macs": arch.cost.macs,
            "found_params": arch.cost.params,
            "below_budget_percent": 100 * (1 - arch.cost.macs / budget),
        }
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "peak_bytes": peak, **found}


def main() -> None:
    """Measure in turns, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="timm:resnet50")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["plain", "trace", "search"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    given = (arguments.model, arguments.batch, arguments.size)
    if arguments.only:
        print(json.dumps(measure(arguments.only, *given)))
        return
    runs: dict[str, list[dict[str, Any]]] = {"plain": [], "trace": [], "search": []}
    for _ in range(arguments.repeats):
        for what, done in runs.items():
            command = [sys.executable, __file__, "--only", what, "--model", arguments.model]
            command += ["--batch", str(arguments.batch), "--size", str(arguments.size)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            done.append(json.loads(output.splitlines()[-1]))
    pairs = list(zip(runs["plain"], runs["search"], strict=True))
    extra = [search["seconds"] - 1.2 * plain["seconds"] for plain, search in pairs]
    summary = {
        "trace_seconds": statistics.median(run["seconds"] for run in runs["trace"]),
        "plain_seconds": statistics.median(plain["seconds"] for plain, _ in pairs),
        "search_seconds": statistics.median(search["seconds"] for _, search in pairs),
        "seconds_over_1.2_plain": statistics.median(extra),
        "plain_gib": statistics.median(plain["peak_bytes"] for plain, _ in pairs) / 2**30,
        "search_gib": statistics.median(search["peak_bytes"] for _, search in pairs) / 2**30,
        "memory_ratio": statistics.median(s["peak_bytes"] / p["peak_bytes"] for p, s in pairs),
        **{k: v for k, v in runs["search"][0].items() if k not in ("seconds", "peak_bytes")},
    }
    for key, value in summary.items():
        print(f"{key:26} {value:,.3f}" if isinstance(value, float) else f"{key:26} {value:,}")
    out = Path(__file__).parent / "results" / "shrink.json"
    write_json(
        out,
        {
            "model": arguments.model,
            "batch": arguments.batch,
            "size": arguments.size,
            "seed": 0,
            "summary": summary,
            "runs": runs,
            "versions": versions(),
            "machine": machine(),
        },
    )
    print(f"written to {out}")


if __name__ == "__main__":
    main()
