"""One training iteration of a hypernetwork next to one of the plain network of the same widths.

    python benchmarks/iterations.py [--quick] [--model timm:resnet18 ...] [--batch 8 32]

For each network, widened twice at 224 pixels:

- ``plain``: forward, backward and SGD with momentum of the widened network;
- ``hyper``: the same of its hypernetwork (embedding size 2);
- ``criterion`` (first batch size only): the latent gradients in closed form, weights drawn.

Each measurement is a process of its own, so that its peak memory is its own; they take turns, and
ratios are taken pair by pair. Training is measured in its steady state: in the first two iterations
a process touches most of its memory for the first time, which can take longer than the arithmetic;
the median of the next three counts. The criterion's single pass is compared with the plain
network's first. Memory that a hypernetwork cannot avoid is its parameters, gradients and momentum,
and what the plain process needs beyond its own. Memory is asked for in huge pages and kept, as the
command line does. Prints a table, writes ``benchmarks/results/iterations.json``; pairs that are
there from an earlier run on the same machine are added to, unless ``--fresh`` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import lwdna
from lwdna.channels import resize, trace, widened_widths
from lwdna.cli.allocator import reuse_memory
from lwdna.engine import machine, versions
from lwdna.files import write_json
from lwdna.hypernet import Hypernetwork, generated_weights
from lwdna.methods import ShrinkSettings
from lwdna.methods.criteria import Problem, reset_norms
from lwdna.methods.criteria.latent import closed_form, draw_weights

MODELS = (
    "timm:resnet50",
    "timm:resnet18",
    "timm:mobilenetv2_100",
    "timm:regnetx_040",
    "timm:efficientnet_b0",
)
KINDS = ("plain", "hyper", "criterion")
WARM, TIMED = 2, 3
"""Iterations that are not timed, and iterations that are."""


def measure(kind: str, name: str, batch: int, size: int) -> dict[str, float]:
    """Measure in this process: seconds, peak memory and parameters."""
    torch.manual_seed(0)
    model = lwdna.create_model(name)
    images, labels = torch.randn(batch, 3, size, size), torch.randint(1000, (batch,))
    graph = trace(model, images[:1])
    widths = widened_widths(graph, 2.0)
    undefined = () if kind == "plain" else generated_weights(model, graph)
    network = resize(model, graph, widths, seed=0, undefined=undefined)
    del model
    reset_norms(network)
    if kind == "criterion":
        return _criterion(network, graph, widths, (images, labels))
    if kind == "hyper":
        network = Hypernetwork(network, graph, widths, 2, seed=0)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True
    )
    found: dict[str, float] = {"params": sum(p.numel() for p in network.parameters())}
    seconds = []
    for number in range(WARM + TIMED):
        start = time.perf_counter()
        _loss(network, (images, labels)).backward()
        if number == 0:
            found |= {"backward_seconds": time.perf_counter() - start, "backward_peak": _peak()}
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
    return {**found, "seconds": statistics.median(seconds[WARM:]), "peak": _peak()}


def _criterion(
    network: nn.Module, graph: lwdna.ChannelGraph, widths: dict[str, int], batch: Any
) -> dict[str, float]:
    start = time.perf_counter()
    latents = draw_weights(network, graph, widths, 2, seed=0)
    drawn = time.perf_counter()
    problem = Problem(
        network, graph, widths, batch[0][:1], [batch], _loss, ShrinkSettings(), seed=0
    )
    problem.backward()
    closed_form(problem, latents)
    return {
        "draw_seconds": drawn - start,
        "seconds": time.perf_counter() - drawn,
        "peak": _peak(),
    }


def _loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def summarise(runs: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return medians over pairs of runs that took turns."""
    pairs = list(zip(runs["plain"], runs["hyper"], strict=True))
    summary = {
        "plain_seconds": statistics.median(plain["seconds"] for plain, _ in pairs),
        "hyper_seconds": statistics.median(hyper["seconds"] for _, hyper in pairs),
        "time_ratio": statistics.median(h["seconds"] / p["seconds"] for p, h in pairs),
        "plain_gib": statistics.median(p["peak"] for p, _ in pairs) / 2**30,
        "hyper_gib": statistics.median(h["peak"] for _, h in pairs) / 2**30,
        # three times four bytes: parameter, gradient, momentum
        "memory_ratio": statistics.median(
            h["peak"] / (p["peak"] + 12 * (h["params"] - p["params"])) for p, h in pairs
        ),
    }
    if runs["criterion"]:
        thirds = list(zip(runs["plain"], runs["criterion"], strict=True))
        summary |= {
            "criterion_time_ratio": statistics.median(
                c["seconds"] / p["backward_seconds"] for p, c in thirds
            ),
            "criterion_memory_ratio": statistics.median(
                c["peak"] / p["backward_peak"] for p, c in thirds
            ),
            "draw_seconds": statistics.median(c["draw_seconds"] for _, c in thirds),
        }
    return summary


def search_share(name: str = "timm:resnet50", size: int = 224) -> float:
    """Return the arithmetic of the ImageNet recipe's search over that of its training run.

    Forward and backward of the doubled network for the search's batches (three times the MACs of
    the forward pass), next to those of the network found for every image of every epoch.
    """
    from lwdna.recipe import load_recipe

    recipe = load_recipe("imagenet/resnet50")
    graph = trace(lwdna.create_model(name), torch.zeros(1, 3, size, size))
    widened = graph.cost(widened_widths(graph, recipe.shrink.width_mult)).macs
    images = recipe.shrink.batches * recipe.shrink.batch_size
    training = 0.23 * widened * recipe.train.epochs * 1_281_167
    return widened * images / training


def main() -> None:
    """Measure in turns, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=MODELS)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="ResNet-18, batch 4, 64 pixels, once")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.model, arguments.batch = ["timm:resnet18"], [4]
        arguments.size, arguments.repeats = 64, 1
    kept = reuse_memory()
    if arguments.only:
        print(
            json.dumps(
                measure(arguments.only, arguments.model[0], arguments.batch[0], arguments.size)
            )
        )
        return
    results = Path(__file__).parent / "results"
    out = arguments.out or results / (
        "iterations-quick.json" if arguments.quick else "iterations.json"
    )
    facts = {
        "memory_kept": kept,
        "huge_pages": os.environ["THP_MEM_ALLOC_ENABLE"] == "1",
        "size": arguments.size,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "machine": machine(),
    }
    share = search_share()
    rows = {} if arguments.fresh else earlier(out, facts)
    for name in arguments.model:
        for batch in arguments.batch:
            runs = rows.get((name, batch), {}).get("runs") or {kind: [] for kind in KINDS}
            for _ in range(arguments.repeats):
                for kind, done in runs.items():
                    if kind != "criterion" or batch == arguments.batch[0]:
                        done.append(_apart(kind, name, batch, arguments.size))
            summary = summarise(runs)
            rows[name, batch] = {"model": name, "batch": batch, **summary, "runs": runs}
            values = "  ".join(f"{key} {value:.3f}" for key, value in summary.items())
            print(f"{name} batch {batch}: {values}", flush=True)
            write_json(
                out, {**facts, "rows": list(rows.values()), "search_share_of_training": share}
            )
    print(f"the ImageNet recipe's search costs {100 * share:.5f} % of its training's arithmetic")
    print(f"written to {out}")


def earlier(out: Path, facts: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the rows of an earlier run under the same conditions, by network and batch size."""
    if not out.is_file():
        return {}
    found = json.loads(out.read_text(encoding="utf-8"))
    if any(found.get(key) != value for key, value in facts.items()):
        return {}
    return {(row["model"], row["batch"]): row for row in found["rows"]}


def _apart(kind: str, name: str, batch: int, size: int) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--only", kind, "--model", name]
    command += ["--batch", str(batch), "--size", str(size)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
