"""The channel graph over a zoo of networks, next to Torch-Pruning on the same ones.

    python benchmarks/zoo.py [--models 'timm:resnet*' ...] [--kind convolutional]
                             [--only ours|theirs] [--resume]
                             [--out benchmarks/results/zoo.json] [--table docs/zoo.md]

Every network is built outside the timing, in a worker process with one thread; the two libraries
take turns at going first. Ours: trace, proof by a second run, resize to half of every width.
Theirs: build the graph, group, one step of pruning half the channels. Each may take 90 processor
seconds; so may the checks after it. Results are appended to a JSONL file beside ``--out`` as they
come, so that ``--resume`` goes on after a kill; Ctrl-C writes the table of what there is. Every
row names the code that it measured. ``--resume`` keeps rows of this code only, and of those the
ones that have all sides: two sides of a row are never of two runs.
The networks: ``benchmarks/zoo_models.py``.
Needs ``pip install lwdna[bench]``.
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
import gc
import json
import time
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor, nn

from lwdna.engine import machine, versions
from lwdna.files import write_json, write_text
from workers import LIMIT, TimeUp, Worker, code_version, limited
from zoo_models import KINDS, Entry, build, zoo
from zoo_ours import analyse, check
from zoo_table import markdown, summary
from zoo_theirs import prune

WARM_UP = Entry("timm:resnet10t", "timm.resnet", 0, (1, 3, 64, 64))
SEED = 0


@lru_cache(maxsize=1)
def built(entry: Entry) -> tuple[nn.Module, Tensor]:
    """Return the network and an input, the same objects for both sides."""
    return build(entry, SEED)


def ours(entry: Entry) -> dict[str, Any]:
    """Measure and check this library on one network."""
    model, image = built(entry)
    gc.collect()
    try:
        with limited():
            found, graph = analyse(model, image)
    except TimeUp:
        return {"seconds": float(LIMIT), "error": f"not finished in {LIMIT} s", "timeout": True}
    try:
        with limited():
            found |= check(model, image, graph, SEED)
    except TimeUp:
        late = {"ok": False, "error": f"not finished in {LIMIT} s"}
        found |= {"resized": late, "sliced": late, "timeout": True}
    return found


def theirs(entry: Entry) -> dict[str, Any]:
    """Measure Torch-Pruning on one network."""
    model, image = built(entry)
    model = copy.deepcopy(model)  # theirs works in place
    gc.collect()
    try:
        with limited():
            return prune(model, image)
    except TimeUp:
        return {"seconds": float(LIMIT), "error": f"not finished in {LIMIT} s", "timeout": True}


SIDES = {"ours": ours, "theirs": theirs}


def whole(row: dict[str, Any], sides: list[str], code: str) -> bool:
    """Tell whether a row need not be measured again: all sides, and by the code that runs now."""
    return row.get("code") == code and all(side in row for side in sides)


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Return the last results by network; a line cut off by a kill is left out."""
    rows = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            rows[row["name"]] = row
    return rows


def guess(entry: Entry, before: dict[str, float]) -> float:
    """Return about how many seconds a network will take: as last time, or by its parameters."""
    return before.get(entry.name, 15 + entry.params / 1e6)


def measure(
    entries: list[Entry],
    sides: list[str],
    log: Path,
    done: dict[str, Any],
    before: dict[str, float],
    code: str,
) -> None:
    """Run what has not been run yet, adding a line per network to ``log``."""
    todo = [entry for entry in entries if entry.name not in done]
    worker, start = Worker(SIDES, WARM_UP), time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
    guessed = [guess(entry, before) for entry in todo]
    with Progress(*columns) as progress, log.open("a") as file:
        task = progress.add_task("", total=sum(guessed), left="")
        for position, entry in enumerate(todo):
            progress.update(task, description=f"{position + 1}/{len(todo)} {entry.name:32}")
            began = time.monotonic()
            row: dict[str, Any] = {**asdict(entry), "code": code}
            for side in sides if position % 2 else reversed(sides):
                row[side] = worker.run(side, entry)
            if code_version() != code:
                print(f"{entry.name} left out: the library's files changed; run with --resume")
                break
            row["took_seconds"] = time.monotonic() - began
            done[entry.name] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
            pace = (time.monotonic() - start) / sum(guessed[: position + 1])
            left = f"about {pace * sum(guessed[position + 1 :]) / 60:.0f} min left"
            progress.update(task, advance=guessed[position], left=left)
            if not progress.console.is_terminal:
                print(f"{position + 1}/{len(todo)} {entry.name}: {left}", flush=True)
    worker.stop()


def main() -> None:
    """Measure, write JSON and a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["*"], help="patterns of names with prefix")
    parser.add_argument("--kind", choices=KINDS, help="only these networks (default: all)")
    parser.add_argument("--only", choices=list(SIDES))
    parser.add_argument("--resume", action="store_true", help="go on with what is in the JSONL")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/zoo.json")
    parser.add_argument("--table", type=Path, help="also write a Markdown table here")
    arguments = parser.parse_args()
    entries = [
        entry
        for entry in zoo()
        if any(fnmatch.fnmatch(entry.name, pattern) for pattern in arguments.models)
        and arguments.kind in (None, entry.kind)
    ]
    if not entries:
        parser.error(f"no network of the zoo is called {' or '.join(arguments.models)}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    log = arguments.out.with_suffix(".jsonl")
    sides = [arguments.only] if arguments.only else list(SIDES)
    found, code = read_rows(log), code_version()
    if not arguments.resume:
        log.unlink(missing_ok=True)
    before = {name: row["took_seconds"] for name, row in found.items() if "took_seconds" in row}
    done = {
        name: row for name, row in found.items() if arguments.resume and whole(row, sides, code)
    }
    torch.set_num_threads(1)
    try:
        measure(entries, sides, log, done, before, code)
    except KeyboardInterrupt:
        print("interrupted; what was measured so far:")
    rows = [done[entry.name] for entry in entries if entry.name in done]
    result = {
        "seed": SEED,
        "limit_seconds": LIMIT,
        "versions": {**versions(), "torch-pruning": version("torch-pruning")},
        "machine": machine(),
        "chosen": {kind: sum(entry.kind == kind for entry in entries) for kind in KINDS},
        "summary": summary(rows),
        "networks": rows,
    }
    write_json(arguments.out, result)
    text = markdown(result)
    if arguments.table:
        write_text(arguments.table, text)
    print(text.partition("\n## Networks")[0])
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
