"""Trained networks made slim by this library and by Torch-Pruning, at the same cost.

    python benchmarks/slim.py --data /data/cifar100 --pixels 16 --out slim.jsonl

Needs torch-pruning 1.6.1. Every network is trained once per seed; every method gets the same
weights, the same MACs and the same fine-tuning with the dense network as teacher. Methods that
train a sparse network first do so on top of that. One line of JSON for each network, seed, budget
and method is appended as soon as it is there: MACs and parameters relative to the dense network,
accuracy after pruning, after batch normalisation has been recalibrated (the same function for all)
and after fine-tuning. Jobs run in several processes on one device. ``slim_table.py`` makes a table
of the lines.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from fnmatch import fnmatch
from importlib import metadata
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet20": ("lwdna:resnet20_cifar", {"width_mult": 0.5, "shortcut": "B"}),
    "resnet56": ("lwdna:resnet56_cifar", {"shortcut": "B"}),
    "mobilenetv2": ("lwdna:mobilenetv2_32px", {"width_mult": 0.5}),
    "vgg16": ("lwdna:vgg16_cifar", {"width_mult": 0.5}),
}
DENSE = "dense"


def main() -> None:
    arguments = parse()
    if not arguments.cache.is_file():
        from slim_data import make_caches

        make_caches(arguments.data, {arguments.pixels: arguments.cache})
    with tempfile.TemporaryDirectory() as folder:
        weights = arguments.weights or Path(folder)
        weights.mkdir(parents=True, exist_ok=True)
        options = {**vars(arguments), "weights": weights}
        note(arguments.out, {"kind": "run", "settings": settings_of(arguments)})
        Pool(options, jobs_of(arguments)).run()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with CIFAR-100's train*.zip, test*.zip")
    parser.add_argument("--cache", type=Path, help="arrays made of it; made if missing")
    parser.add_argument("--pixels", type=int, default=16)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="folder for trained networks, used again")
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=["mobilenetv2", "resnet20", "vgg16"]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.5, 0.3])
    parser.add_argument(
        "--methods", nargs="+", default=["*"], help="shell patterns, the first first"
    )
    parser.add_argument("--device", default=None)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9, help="no job starts after that")
    parser.add_argument("--grace", type=float, default=60, help="seconds that jobs may go on")
    parser.add_argument("--limit", type=int, help="images of either half, for a trial")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--base-epochs", type=float, default=25)
    parser.add_argument("--base-lr", type=float, default=0.2)
    parser.add_argument("--tune-epochs", type=float, default=5)
    parser.add_argument("--tune-lr", type=float, default=0.05)
    parser.add_argument("--sparse-epochs", type=float, default=5)
    parser.add_argument("--sparse-lr", type=float, default=0.01)
    parser.add_argument("--no-distill", action="store_true")
    parser.add_argument("--no-graph", action="store_true")
    known = parser.add_argument_group("how networks train fastest; of others it is found first")
    known.add_argument("--tf32", nargs="*", choices=NETWORKS, default=[])
    known.add_argument("--bf16", nargs="*", choices=NETWORKS, default=[])
    arguments = parser.parse_args()
    try:
        arguments.methods = methods_of(arguments.methods)
    except ValueError as error:
        parser.error(str(error))
    if arguments.cache is None:
        arguments.cache = Path(tempfile.gettempdir()) / f"cifar100-{arguments.pixels}.npz"
    if not arguments.cache.is_file() and arguments.data is None:
        parser.error(f"{arguments.cache} is missing; give --data to make it")
    return arguments


def methods_of(patterns: Sequence[str]) -> list[str]:
    """Return methods in the order of the patterns that they match.

    Raises:
        ValueError: a pattern matches none.
    """
    from slim_methods import OURS, THEIRS

    methods = [DENSE, *(f"ours/{name}" for name in OURS), *(f"tp/{name}" for name in THEIRS)]
    found: list[str] = []
    for pattern in patterns:
        matching = [one for one in methods if fnmatch(one, pattern)]
        if not matching:
            raise ValueError(f"no method matches {pattern}; there are {', '.join(methods)}")
        found += [one for one in matching if one not in found]
    return found


def jobs_of(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what finds the fastest way to train, then seed by seed base trainings and cells."""
    known = {*arguments.tf32, *arguments.bf16}
    jobs: list[dict[str, Any]] = [
        {"kind": "probe", "network": one, "seed": -1}
        for one in arguments.networks
        if one not in known
    ]
    for seed in arguments.seeds:
        jobs += [{"kind": "base", "network": one, "seed": seed} for one in arguments.networks]
        for method in arguments.methods:
            budgets = arguments.budgets[:1] if method == DENSE else arguments.budgets
            jobs += [
                {"kind": "cell", "network": one, "seed": seed, "budget": budget, "method": method}
                for one in arguments.networks
                for budget in budgets
            ]
    return jobs


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that say how networks were trained."""
    keys = ("pixels", "limit", "batch", "no_distill")
    keys += tuple(
        f"{one}_{what}" for one in ("base", "tune", "sparse") for what in ("epochs", "lr")
    )
    return {**{key: getattr(arguments, key) for key in keys}, "networks": NETWORKS}


def note(file: Path, line: Mapping[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")


class Pool:
    """Processes that take one job after the other; one that dies loses its job only."""

    def __init__(self, options: Mapping[str, Any], jobs: list[dict[str, Any]]) -> None:
        self.options, self.pending = options, jobs
        self.running: dict[Connection, tuple[Any, dict[str, Any] | None]] = {}
        self.trained: dict[tuple[str, int], dict[str, Any]] = {}
        """Accuracy and cost of dense networks."""
        self.ways = {
            network: {"amp": amp, "channels_last": True}
            for key, amp in (("tf32", False), ("bf16", True))
            for network in options[key]
        }
        self.start = time.monotonic()

    def run(self) -> None:
        for _ in range(min(self.options["workers"], len(self.pending))):
            self.add_worker()
        while self.running:
            self.hand_out()
            passed = time.monotonic() - self.start
            end = self.options["seconds"] + self.options["grace"]
            if passed > end or not any(job for _, job in self.running.values()):
                break
            for connection in wait(list(self.running), timeout=min(5.0, max(0.0, end - passed))):
                self.receive(connection)
        for process, _ in self.running.values():
            process.kill()
            process.join()
        print(f"{len(self.pending)} jobs not started, {time.monotonic() - self.start:.0f} s")

    def add_worker(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, other = context.Pipe()
        process = context.Process(target=serve, args=(other, self.options), daemon=True)
        process.start()
        other.close()
        self.running[ours] = (process, None)

    def hand_out(self) -> None:
        """Give every idle worker the first job whose network is trained."""
        late = time.monotonic() - self.start > self.options["seconds"]
        for connection, (process, job) in list(self.running.items()):
            ready = None if job or late else next(filter(self.is_ready, self.pending), None)
            if ready is None:
                continue
            self.pending.remove(ready)
            self.running[connection] = (process, ready)
            network, seed = ready["network"], ready["seed"]
            known = {"of": self.trained.get((network, seed)), **self.ways.get(network, {})}
            connection.send({**ready, **known})

    def is_ready(self, job: Mapping[str, Any]) -> bool:
        if job["kind"] == "cell":
            return (job["network"], job["seed"]) in self.trained
        return job["kind"] == "probe" or job["network"] in self.ways

    def receive(self, connection: Connection) -> None:
        process, job = self.running[connection]
        try:
            found = connection.recv()
            self.running[connection] = (process, None)
        except (EOFError, OSError):
            found = {"error": "the process died", "fatal": True}
            process.join()
        if found.pop("fatal", False):
            process.kill()
            del self.running[connection]
            if self.pending:
                self.add_worker()
        if job is None:
            return
        if job["kind"] == "probe":
            # a step that cannot be a graph on this machine still can be taken
            self.ways[job["network"]] = found.get("way", {"no_graph": True})
        if job["kind"] == "base" and "error" not in found:
            self.trained[job["network"], job["seed"]] = found
        line = {**job, **found, "at": round(time.monotonic() - self.start, 1)}
        line.update(self.ways.get(job["network"], {}))
        note(self.options["out"], line)
        print(brief(line), flush=True)


def brief(line: Mapping[str, Any]) -> str:
    shown = ("at", "network", "seed", "budget", "method", "macs", "params", "dense", "pruned")
    shown += ("recalibrated", "tuned", "seconds", "error", "tried")
    return " ".join(f"{key}={line[key]}" for key in shown if key in line)


def serve(connection: Connection, options: Mapping[str, Any]) -> None:
    """Do jobs in a worker process until its device fails."""
    import torch

    from slim_training import load

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    name = options["device"] or ("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    data = load(options["cache"], device, options["limit"])
    while True:
        job = connection.recv()
        start = time.monotonic()
        try:
            found = JOBS[job["kind"]](job, data, options)
        except Exception as error:
            lines = traceback.format_exc().strip().splitlines()
            where = next((one.strip() for one in reversed(lines[:-1]) if "File" in one), "")
            found = {
                "error": f"{type(error).__name__}: {error}"[:300],
                "where": where[-200:],
                "fatal": "CUDA" in str(error) or "cuDNN" in str(error),
            }
            print(traceback.format_exc()[-1500:], file=sys.stderr, flush=True)
        connection.send({**found, "seconds": round(time.monotonic() - start, 1)})
        if found.get("fatal"):
            os._exit(1)


def made(name: str, seed: int, device: Any) -> Any:
    """Return a network with fresh weights."""
    import torch

    from lwdna.models import create_model

    source, args = NETWORKS[name]
    torch.manual_seed(seed)
    return create_model(source, num_classes=100, **args).to(device)


def schedule_of(options: Mapping[str, Any], kind: str, job: Mapping[str, Any]) -> Any:
    from slim_training import Schedule

    return Schedule(
        epochs=options[f"{kind}_epochs"],
        lr=options[f"{kind}_lr"],
        batch=options["batch"],
        warmup=0.1 if kind == "base" else 0.0,
        distill=0.4 if kind == "tune" and not options["no_distill"] else 0.0,
        amp=job.get("amp", False),
        channels_last=job.get("channels_last", True),
        graph=not (options["no_graph"] or job.get("no_graph")),
    )


def probe(job: Mapping[str, Any], data: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Find the fastest way to train a network on this GPU; everybody's trainings then use it."""
    from slim_training import train

    if data.train.device.type != "cuda":
        return {"way": {}}
    model = made(job["network"], 0, data.train.device)
    found = {}
    for amp in (False, True):
        way = {"amp": amp, "channels_last": True}
        schedule = schedule_of(options, "base", way)
        steps = schedule.epochs * (len(data.train) // schedule.batch)
        taken = []
        for count in (5, 5, 45):
            start = time.monotonic()
            train(model, data, schedule, 0, part=(0.0, count / steps))
            taken.append(time.monotonic() - start)
        # bfloat16 has to win clearly: widths that are no multiples of 8 cost it more
        milliseconds = 25 * (taken[2] - taken[1])
        found[milliseconds * (1.25 if amp else 1.0)] = {**way, "milliseconds": milliseconds}
    best = min(found)
    way = {key: found[best][key] for key in ("amp", "channels_last")}
    return {"way": way, "tried": list(found.values())}


def base(job: Mapping[str, Any], data: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Train a network and save it."""
    import torch
    from safetensors.torch import load_model, save_model

    from slim_training import accuracy, macs_of, params_of, train

    file = options["weights"] / f"{job['network']}-{job['seed']}.safetensors"
    model = made(job["network"], job["seed"], data.train.device)
    if file.is_file():
        load_model(model, file)
    else:
        train(model, data, schedule_of(options, "base", job), job["seed"])
        save_model(model.cpu(), str(file))
        model.to(data.train.device)
    found = {"dense": accuracy(model, data), "macs": macs_of(model, data.side)}
    gpu = torch.cuda.get_device_name() if data.train.is_cuda else "CPU"
    versions = {one: metadata.version(one) for one in ("lwdna", "torch", "timm")}
    return {**found, "params": params_of(model), "machine": gpu, "versions": versions}


def cell(job: Mapping[str, Any], data: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Prune a trained network by one method, recalibrate and tune it."""
    from safetensors.torch import load_model

    from slim_methods import Given, ours, theirs
    from slim_training import accuracy, macs_of, params_of, recalibrate, train

    seed, method = job["seed"], job["method"]
    dense = made(job["network"], seed, data.train.device)
    load_model(dense, options["weights"] / f"{job['network']}-{seed}.safetensors")
    dense.eval()
    teacher = deepcopy(dense)
    schedule = schedule_of(options, "tune", job)

    def tune(model: Any, part: tuple[float, float]) -> None:
        train(model, data, schedule, seed, teacher=teacher, part=part)

    given = Given(dense, data, job["budget"], seed, tune, schedule_of(options, "sparse", job))
    kind, _, name = method.partition("/")
    start = time.monotonic()
    if method == DENSE:
        small, done, facts = deepcopy(dense), 0.0, {}
    else:
        small, done, facts = (ours if kind == "ours" else theirs)(given, name)
    pruning = round(time.monotonic() - start, 1)
    before = job["of"]
    found = {
        "macs": round(macs_of(small, data.side) / before["macs"], 4),
        "params": round(params_of(small) / before["params"], 4),
        "dense": before["dense"],
    }
    if method != DENSE:
        found["pruned"] = accuracy(small, data)
        recalibrate(small, data, seed)
        found["recalibrated"] = accuracy(small, data)
    start = time.monotonic()
    tune(small, (done, 1.0))
    found["tuned"] = accuracy(small, data)
    seconds = {"pruning_seconds": pruning, "tuning_seconds": round(time.monotonic() - start, 1)}
    return {**found, **facts, **seconds}


JOBS = {"probe": probe, "base": base, "cell": cell}


if __name__ == "__main__":
    main()
