"""How long a command takes before its work begins.

    python benchmarks/start.py --repeats 5

Times help, lists, the version, mistakes in a recipe and ``inspect``, the last beside an import of
torch and timm in the same turn. Prints the least of the repeats, which a busy machine disturbs
least, and writes ``benchmarks/results/start.json``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from lwdna.engine import machine, versions
from lwdna.files import write_json

VERBS = ("quickstart", "shrink", "train", "compare", "evaluate", "inspect", "restore", "report")
LISTS = ("models", "recipes", "criteria", "keep-rules", "ops")
COMMANDS = (
    "--version",
    "--help",
    *(f"{verb} --help" for verb in VERBS),
    *(f"list {what}" for what in LISTS),
    "train digits train.epoch=2",
    "train digits --model timm:resnt18",
    "inspect timm:resnet18",
)
IMPORT = "import torch, timm"


def seconds(*command: str) -> float:
    """Return how long a Python process runs."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], capture_output=True, check=False)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    turns: dict[str, list[float]] = {}
    for _ in range(arguments.repeats):
        turns.setdefault(IMPORT, []).append(seconds("-c", IMPORT))
        for command in COMMANDS:
            turns.setdefault(command, []).append(seconds("-m", "lwdna", *command.split()))
    least = {name: round(min(times), 3) for name, times in turns.items()}
    for name, one in least.items():
        print(f"{one:7.2f} s  {name}")
    ratio = round(least["inspect timm:resnet18"] / least[IMPORT], 3)
    print(f"inspect timm:resnet18 takes {ratio:.2f} times what `{IMPORT}` takes")
    record = {"seconds": least, "inspect_to_import": ratio, "repeats": arguments.repeats}
    path = Path(__file__).parent / "results/start.json"
    write_json(path, {**record, "versions": versions(), "machine": machine()})


if __name__ == "__main__":
    main()
