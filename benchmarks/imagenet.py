"""Training at 224 pixels from JPEG files: this project next to timm's and torchvision's loops.

    python benchmarks/imagenet.py
    python benchmarks/imagenet.py --device cuda --model resnet50 --batch 256 --precision bf16 \
        --channels-last --workers 16 --steps 60 --turns 1

Writes a folder of JPEG files of ImageNet's sizes. All sides read them with the same number of
processes, draw a random resized crop and a flip, and train the same timm network with the same
batch, optimizer and precision, each in a process of its own, in turns. Prints images per second of
the loaders alone, of training on one batch that stays on the device ("compute"), and of training
from files, which needs both. Writes ``results/imagenet-MODEL-DEVICE.json`` after every figure.
Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from imagenet_data import write_folder
from lwdna.engine import machine, versions
from lwdna.files import write_json

HERE = Path(__file__).parent
SHARED = ("model", "side", "batch", "warmup", "steps", "workers", "threads", "device", "precision")


def main() -> None:
    given = parse()
    out = given.out or HERE / "results" / f"imagenet-{given.model}-{given.device}.json"
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        data = given.data or Path(temporary) / "data"
        if given.data is None:
            count = given.batch * (given.warmup + given.steps)
            write_folder(data, count, unique=min(count, given.unique), seed=given.seed)
        for turn in range(given.turns):
            for side in given.sides:
                for line in run_side(side, given.parts, given, data):
                    lines.append({"turn": turn, **line})
                    print(json.dumps(lines[-1]), flush=True)
                    write_json(out, report(given, lines))
    print(table(report(given, lines)))
    print(f"written to {out}")


def run_side(
    side: str, parts: Sequence[str], given: argparse.Namespace, data: Path, *,
    limit: float = 7200,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield the figures of one side, measured in another process; it is ended at the limit."""
    who, _, how = side.partition(", ")
    command = [sys.executable, str(HERE / "imagenet_loops.py"), who, str(data)]
    command += ["--parts", *parts]
    for name in SHARED:
        command += [f"--{name}", str(getattr(given, name))]
    if given.channels_last:
        command.append("--channels-last")
    command += {"": [], "nvJPEG": ["--decode", "gpu"], "one graph": ["--graph"]}[how]
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if given.device == "cpu" else {}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **hidden}
    )
    timer = threading.Timer(limit, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        yield from (json.loads(line) for line in process.stdout if line.startswith("{"))
    finally:
        process.kill()
        process.wait()
        timer.cancel()


def report(given: argparse.Namespace, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return medians over turns, and ratios of ours to timm's in one turn, with all figures."""
    facts = {name: getattr(given, name) for name in (*SHARED, "channels_last", "seed")}
    rates: dict[str, dict[str, list[float]]] = {}
    for line in lines:
        if "images_per_second" in line:
            sides = rates.setdefault(line["part"], {})
            sides.setdefault(label(line), []).append(line["images_per_second"])
    medians = {
        part: {side: statistics.median(found) for side, found in sides.items()}
        for part, sides in rates.items()
    }
    ratios = {
        part: {
            side: round(statistics.median(map(divide, found, sides["timm"])), 3)
            for side, found in sides.items()
            if side.startswith("ours") and "timm" in sides
        }
        for part, sides in rates.items()
    }
    return {
        **facts,
        "versions": versions(),
        "machine": machine(),
        "images_per_second": medians,
        "ratio_to_timm": ratios,
        "all": list(lines),
    }


def divide(one: float, other: float) -> float:
    return one / other


def label(line: dict[str, Any]) -> str:
    """Return what a side is called that was measured in one of several ways."""
    how = [", nvJPEG"] * (line.get("decode") == "gpu") + [", one graph"] * bool(line.get("graph"))
    return "".join([line["side"], *how])


def table(found: dict[str, Any]) -> str:
    """Return the medians as a table, and what ours are next to timm's in one turn."""
    rates, ratios = found["images_per_second"], found["ratio_to_timm"]
    sides = list(dict.fromkeys(side for part in rates.values() for side in part))
    rows = [f"| part | {' | '.join(sides)} |", f"|---|{'---:|' * len(sides)}"]
    for part, here in rates.items():
        cells = [
            f"{here[side]:.0f}" + (f" ({ratios[part][side]})" if side in ratios[part] else "")
            if side in here
            else ""
            for side in sides
        ]
        rows.append(f"| {part} | {' | '.join(cells)} |")
    return "\n".join(rows)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet18", help="a network of timm")
    parser.add_argument("--side", type=int, default=224, help="pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--warmup", type=int, default=4, help="steps")
    parser.add_argument("--steps", type=int, default=16, help="those that count")
    parser.add_argument("--workers", type=int, default=2, help="processes that read images")
    parser.add_argument("--threads", type=int, default=2, help="of torch, on a CPU")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="no", choices=["no", "bf16"])
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument(
        "--sides",
        nargs="+",
        default=["timm", "ours", "torchvision"],
        help="also 'ours, nvJPEG' and 'ours, one graph'",
    )
    parser.add_argument("--parts", nargs="+", default=["loader", "files"])
    parser.add_argument("--unique", type=int, default=640, help="files that differ")
    parser.add_argument("--seed", type=int, default=0, help="of the files")
    parser.add_argument("--data", type=Path, help="a folder that write_folder wrote")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
