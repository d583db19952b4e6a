"""Memory and time of the search itself for large networks, next to one step of training.

    python benchmarks/search_scale.py
    python benchmarks/search_scale.py --networks timm:resnet152 --criteria snip --batch 2

A search traces the network, makes it twice as wide, and scores its units on two mini-batches. What
that takes at most is compared with one step of training (forward, backward, SGD with momentum) of
the same wide network on a batch of the same size, in the middle of training: the momentum is there.
Each network, criterion and side is a process of its own; memory is the largest resident set of a
phase less what the process held before the network was built. The machine needs some 20 GB.

Then networks of about a billion parameters are built without weights and traced; there the memory
is that of the whole process. Prints tables and writes ``results/search_scale.json`` beside this
file.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from lwdna.channels import trace, widened_widths
from lwdna.engine import machine, versions
from lwdna.files import write_json
from lwdna.methods import ShrinkSettings
from lwdna.methods.criteria import Problem
from lwdna.methods.prepare import fresh
from lwdna.methods.scoring import scored
from lwdna.model_source import ModelSource

NETWORKS = {
    "timm:resnet152": 224,
    "timm:efficientnetv2_l": 384,
    "timm:convnext_large": 224,
    "timm:dm_nfnet_f0": 192,
    "timm:dm_nfnet_f2": 256,
}
"""The side of the images that each was made for."""
HUGE: dict[str, dict[str, int]] = {
    "timm:resnetv2_152x4_bit": {"num_classes": 21_843},
    "timm:regnety_2560": {},
}
CRITERIA = ("snip", "latent-gradient")
PHASES = ("trace", "widen", "score")
SEED = 1
RESULTS = Path(__file__).parent / "results" / "search_scale.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--criteria", nargs="*", default=CRITERIA)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(json.loads(arguments.one))))
        return
    found = [
        compared(name, NETWORKS.get(name, 224), arguments.criteria, arguments.batch)
        for name in arguments.networks
    ]
    huge = {name: apart({"kind": "huge", "name": name, "args": a}) for name, a in HUGE.items()}
    print("\n| traced without weights | parameters | seconds | GB, whole process |")
    print("|---|---:|---:|---:|")
    for name, figures in huge.items():
        print(
            f"| {name} | {figures['params'] / 1e9:.2f} G | {figures['seconds']:.1f} "
            f"| {figures['bytes'] / 1e9:.2f} |"
        )
    said = {"batch": arguments.batch, "width_mult": 2, "search_batches": 2, "seed": SEED}
    whole = {**said, "versions": versions(), "machine": machine()}
    write_json(arguments.out, {**whole, "networks": found, "without_weights": huge})
    print(f"written to {arguments.out}")


def compared(name: str, side: int, criteria: list[str], batch: int) -> dict[str, Any]:
    """Measure a network's search by each criterion, and its training step; print the rows."""
    given = {"name": name, "side": side, "batch": batch}
    step = apart({"kind": "step", **given})
    print(
        f"\n{name}, {side} pixels, batch {batch}; twice as wide: {step['params'] / 1e6:.0f} M "
        f"parameters; a training step: {step['seconds']:.1f} s, {step['bytes'] / 1e9:.2f} GB\n"
        "| criterion | "
        + " | ".join(f"{phase}, s | GB" for phase in PHASES)
        + " | most, by the step's |\n|---|"
        + "---:|" * 7,
        flush=True,
    )
    searches = {}
    for criterion in criteria:
        figures = apart({"kind": "search", "criterion": criterion, **given})
        most = max(figures[phase]["bytes"] for phase in PHASES)
        figures["ratio"] = round(most / step["bytes"], 3)
        searches[criterion] = figures
        columns = " | ".join(
            f"{figures[phase]['seconds']:.1f} | {figures[phase]['bytes'] / 1e9:.2f}"
            for phase in PHASES
        )
        print(f"| {criterion} | {columns} | {figures['ratio']:.2f} |", flush=True)
    return {**given, "step": step, "search": searches}


def apart(job: dict[str, Any]) -> dict[str, Any]:
    """Do a measurement in a process of its own."""
    command = [sys.executable, __file__, "--one", json.dumps(job)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(job: dict[str, Any]) -> dict[str, Any]:
    """Return what a process of its own measures."""
    kinds: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "search": searched,
        "step": stepped,
        "huge": traced_without_weights,
    }
    return kinds[job["kind"]](job)


def searched(job: dict[str, Any]) -> dict[str, Any]:
    """Do what :func:`lwdna.methods.search` does before it chooses widths, phase by phase."""
    base, figures = resident("VmRSS"), {}
    model, images = network(job["name"]), torch.zeros(1, 3, job["side"], job["side"])
    settings = ShrinkSettings(criterion=job["criterion"])
    with measured(figures, "trace", base):
        graph = trace(model, images)
    widened = widened_widths(graph, settings.width_mult)
    with measured(figures, "widen", base):
        wide = fresh(model, graph, widened, settings, SEED)
    drawn = [batch(job, seed) for seed in (1, 2)]
    problem = Problem(wide, graph, widened, images, drawn, loss, settings, SEED)
    del wide
    with measured(figures, "score", base):
        scored(problem, None)
    return figures


def stepped(job: dict[str, Any]) -> dict[str, Any]:
    """Train the wide network alone for two steps and measure the second."""
    base, figures = resident("VmRSS"), {}
    model = network(job["name"])
    graph = trace(model, torch.zeros(1, 3, job["side"], job["side"]))
    wide = fresh(model, graph, widened_widths(graph, 2.0), ShrinkSettings(), SEED).train()
    del model
    optimizer = torch.optim.SGD(wide.parameters(), lr=1e-3, momentum=0.9)

    def step(seed: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(wide, batch(job, seed)).backward()
        optimizer.step()

    step(1)
    with measured(figures, "step", base):
        step(2)
    return {**figures["step"], "params": sum(p.numel() for p in wide.parameters())}


def traced_without_weights(job: dict[str, Any]) -> dict[str, Any]:
    """Build a network without weights and trace it; the memory is that of the whole process."""
    start = time.perf_counter()
    source = ModelSource(name=job["name"], args=job["args"])
    graph = source.graph(torch.zeros(1, 3, 224, 224))
    seconds = round(time.perf_counter() - start, 3)
    most = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"params": graph.cost().params, "seconds": seconds, "bytes": most}


def network(name: str) -> torch.nn.Module:
    """Return a network as it comes, with weights that follow from the seed."""
    torch.manual_seed(SEED)
    return ModelSource(name=name).create()


def batch(job: dict[str, Any], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(job["batch"], 3, job["side"], job["side"], generator=random)
    return images, torch.randint(1000, (job["batch"],), generator=random)


def loss(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Return the cross-entropy."""
    return F.cross_entropy(model(batch[0]), batch[1])


@contextmanager
def measured(figures: dict[str, Any], name: str, base: int) -> Iterator[None]:
    """Note seconds, and bytes that are resident at most, inside the block."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    start = time.perf_counter()
    yield
    seconds = round(time.perf_counter() - start, 3)
    figures[name] = {"seconds": seconds, "bytes": resident("VmHWM") - base}


def resident(what: str) -> int:
    """Return the bytes that are resident now (VmRSS) or were at most (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return 1024 * int(line.split()[1])
    raise LookupError(what)


if __name__ == "__main__":
    main()
