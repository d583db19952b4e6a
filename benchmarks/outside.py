"""The channel graph on networks of many libraries, next to Torch-Pruning on the same ones.

    uv venv --python 3.11 ../outside-env
    uv pip install --python ../outside-env/bin/python -r benchmarks/outside-requirements.txt -e .
    ../outside-env/bin/python benchmarks/outside.py [--only 'ultralytics:*' 'monai:*' ...]
                             [--side ours|theirs] [--jobs 2] [--resume] [--list]
                             [--out benchmarks/results/outside.json] [--table docs/zoo.md]

The networks: ``benchmarks/outside_networks``, in tables by family. They are built with random
weights, and nothing is downloaded. The environment is one of its own, because these libraries want
others' versions of what they share.

Every family's networks run in a worker process with one thread. Ours: trace, proof by a second
run, resize; then slices at random widths against silenced networks, in double precision and on
other inputs than those traced with (``benchmarks/outside_checks.py``). Theirs: as
``benchmarks/zoo.py``. Each may take 90 processor seconds; so may the checks. Results are appended
to a JSONL file beside ``--out`` as they come; ``--resume`` keeps ours of this code only, and theirs
of the same version of Torch-Pruning and the same table.
"""

from __future__ import annotations

import argparse
import fnmatch
import gc
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import lwdna
from lwdna.channels import ChannelGraph
from lwdna.engine import machine, versions
from lwdna.files import write_json, write_text
from outside_checks import check
from outside_networks import Network, build, draw, families
from outside_networks.spec import call, image
from outside_table import inserted, section, summary
from workers import LIMIT, TimeUp, Worker, code_version, limited
from zoo_ours import analyse
from zoo_theirs import LAYERS, prune

SEED = 0
WARM_UP = (Network("timm", "resnet10t", call("timm:create_model", "resnet10t"), image(64)), None)
SIDES = ("ours", "theirs")

Job = tuple[Network, list[str] | None]
"""A network, and the names of the layers that make its outputs, where they are known."""


def ours(job: Job) -> dict[str, Any]:
    """Measure and check this library on one network."""
    network, _ = job
    model, inputs = build(network, SEED), draw(network.inputs, SEED)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gc.collect()
    start = time.process_time()
    try:
        with limited():
            found, graph = analyse(model, inputs)
    except TimeUp:
        return {"seconds": float(LIMIT), "error": f"not finished in {LIMIT} s", "timeout": True}
    except Exception as error:
        crash = not isinstance(error, lwdna.LwdnaError)
        return {
            "seconds": time.process_time() - start,
            "error": f"{type(error).__name__}: {error}"[:2000],
            "crash": crash,
        }
    found["untouched"] = _same(before, model.state_dict())
    found["output_layers"] = output_layers(model, graph)
    others = draw(network.inputs, SEED + 1)
    try:
        with limited():
            found |= check(model, inputs, others, graph, bool(network.by_value), SEED)
    except TimeUp:
        late = {"ok": False, "error": f"not finished in {LIMIT} s"}
        found |= {"resized": late, "sliced": late, "timeout": True}
    return found


def _same(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    return before.keys() == after.keys() and all(
        torch.equal(tensor, after[name]) or bool(tensor.isnan().any())
        for name, tensor in before.items()
    )


def output_layers(model: nn.Module, graph: ChannelGraph) -> list[str]:
    """Return the layers whose outputs are those of the network, as the graph says."""
    axes = {
        f"{name}.weight": 1 if isinstance(module, nn.ConvTranspose2d) else 0
        for name, module in model.named_modules()
        if isinstance(module, LAYERS)
    }
    return sorted(
        pin.tensor.rpartition(".")[0]
        for pin in graph.pinned
        if pin.axis == axes.get(pin.tensor)
        and any(reason.why == "network output" for reason in pin.reasons)
    )


def theirs(job: Job) -> dict[str, Any]:
    """Measure Torch-Pruning on one network."""
    network, names = job
    model, inputs = build(network, SEED), draw(network.inputs, SEED)
    ignored = None
    if names is not None:
        modules = dict(model.named_modules())
        ignored = [modules[name] for name in names if name in modules]
    gc.collect()
    try:
        with limited():
            return prune(model, inputs, ignored, any_shape=bool(network.by_value))
    except TimeUp:
        return {"seconds": float(LIMIT), "error": f"not finished in {LIMIT} s", "timeout": True}


JOBS = {"ours": ours, "theirs": theirs}


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Return the last results by network; a line cut off by a kill is left out."""
    rows: dict[str, dict[str, Any]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            rows[row["title"]] = row
    return rows


def kept(row: dict[str, Any], network: Network, code: str, peer: str) -> dict[str, Any]:
    """Return what of an earlier row still holds."""
    if row.get("network") != repr(network):
        return {}
    kept = {"theirs": row["theirs"]} if "theirs" in row and row.get("peer") == peer else {}
    return kept | ({"ours": row["ours"]} if "ours" in row and row.get("code") == code else {})


class Log:
    """The rows, and the file that they are added to as they come."""

    def __init__(self, path: Path, code: str, total: int) -> None:
        self.path, self.code, self.total = path, code, total
        self.peer = version("torch-pruning")
        self.rows: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()

    def add(self, network: Network, sides: dict[str, Any], new: bool = True) -> None:
        """Take up a network's results."""
        row = {
            "title": network.title,
            "library": network.library,
            "name": network.name,
            "by_value": network.by_value,
            "network": repr(network),
            "code": self.code,
            "peer": self.peer,
            **sides,
        }
        with self.lock:
            self.rows[network.title] = row
            if new:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{len(self.rows)}/{self.total} {network.title}", flush=True)


def measure(
    family: list[Network], sides: list[str], log: Log, before: dict[str, dict[str, Any]]
) -> None:
    """Run what is missing of one family's networks in a process of its own."""
    worker = Worker(JOBS, WARM_UP)
    for network in family:
        found = kept(before.get(network.title, {}), network, log.code, log.peer)
        missing = [side for side in sides if side not in found]
        for side in missing:
            if code_version() != log.code:
                print("the library's files changed; run with --resume")
                return
            names = found.get("ours", {}).get("output_layers")
            found[side] = worker.run(side, (network, names))
        log.add(network, found, new=bool(missing))
    worker.stop()


def published(row: dict[str, Any]) -> dict[str, Any]:
    """Return what of a row is worth keeping: not what only a later run needs."""
    ours = {key: value for key, value in row.get("ours", {}).items() if key != "output_layers"}
    return {key: value for key, value in row.items() if key != "network"} | {"ours": ours}


def library_versions(chosen: list[Network]) -> dict[str, str]:
    """Return the versions of the libraries that the networks are of."""
    packages = packages_distributions()
    found = {}
    for network in chosen:
        inner: Any = network.model
        while not hasattr(inner, "path"):
            inner = inner.whole
        for name in packages.get(inner.path.partition(":")[0].partition(".")[0], ()):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
    return found


def main() -> None:
    """Measure, write JSON and a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of library:name")
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--jobs", type=int, default=1, help="so many families at a time")
    parser.add_argument("--resume", action="store_true", help="go on with what is in the JSONL")
    parser.add_argument("--list", action="store_true", help="only print the names")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/outside.json")
    parser.add_argument("--table", type=Path, help="also put the tables into this page")
    arguments = parser.parse_args()
    wanted = [
        [
            network
            for network in family
            if any(fnmatch.fnmatch(network.title, pattern) for pattern in arguments.only)
        ]
        for family in families()
    ]
    chosen = [network for family in wanted for network in family]
    if not chosen:
        parser.error(f"no network is called {' or '.join(arguments.only)}")
    if arguments.list:
        print("\n".join(network.title for network in chosen))
        return
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    path = arguments.out.with_suffix(".jsonl")
    before = read_rows(path) if arguments.resume else {}
    if not arguments.resume:
        path.unlink(missing_ok=True)
    log = Log(path, code_version(), len(chosen))
    sides = [arguments.side] if arguments.side else list(SIDES)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for done in [pool.submit(measure, entry, sides, log, before) for entry in wanted]:
            done.result()
    rows = [log.rows[network.title] for network in chosen if network.title in log.rows]
    result = {
        "seed": SEED,
        "limit_seconds": LIMIT,
        "versions": {**versions(), "torch-pruning": log.peer},
        "libraries": library_versions(chosen),
        "machine": machine(),
        "code": log.code,
        "chosen": len(chosen),
        "summary": summary(rows),
        "networks": [published(row) for row in rows],
    }
    write_json(arguments.out, result)
    text = section(result)
    if arguments.table:
        page = arguments.table.read_text(encoding="utf-8") if arguments.table.exists() else ""
        write_text(arguments.table, inserted(page, text))
    print(text)
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
