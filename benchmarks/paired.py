"""The mean difference of two arms in a file of results, with the interval of t over seeds.

    python benchmarks/paired.py benchmarks/results/evidence/gpu/NAME.json curvature-1 curvature-0

Compares what both arms have of the same seeds: the metric on each part of the validation images
and, where the file has them, the validation loss and the training loss of the last epoch.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("arm")
    parser.add_argument("to", help="the arm to compare with")
    arguments = parser.parse_args()
    record = json.loads(arguments.file.read_text(encoding="utf-8"))
    for arm in (arguments.arm, arguments.to):
        if arm not in record["arms"]:
            parser.error(f"there is no arm {arm}; there are {', '.join(record['arms'])}")
    for name, values in series(record).items():
        own, other = values[arguments.arm], values[arguments.to]
        found = np.array([own[seed] - other[seed] for seed in own if seed in other])
        reach = stats.t.ppf(0.975, len(found) - 1) * stats.sem(found)
        low, high = found.mean() - reach, found.mean() + reach
        print(f"{name}: {found.mean():+.3f} ({low:+.3f} to {high:+.3f}), {len(found)} seeds")


def series(record: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Return values by what they are of, arm and seed."""
    found = {
        f"{record['metric']}, {part}": {
            arm: dict(zip(map(str, record["arms"][arm]["seeds"]), one["values"], strict=True))
            for arm, one in half["arms"].items()
        }
        for part, half in record["halves"].items()
    }
    if "val_loss" in record:
        found["validation loss"] = record["val_loss"]
    if "train_loss" in record:
        found["training loss"] = {
            arm: {seed: losses[-1] for seed, losses in by_seed.items()}
            for arm, by_seed in record["train_loss"].items()
        }
    return found


if __name__ == "__main__":
    main()
