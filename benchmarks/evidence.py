"""Do the networks found beat their baselines? Small networks, several data sets, five seeds.

    python benchmarks/evidence.py --data DATA [--seeds 5] [--jobs 2] [--out runs/evidence]

    python benchmarks/evidence.py --data DATA --trials --first-seed 20 --arms all --half whole

``DATA`` holds the folders ``cifar100`` (train.zip and test.zip of images in class folders),
``imagefolder-tinyimagenet20`` and ``restoration``. Runs ``lwdna compare`` on every recipe, seed by
seed, so that whatever was finished by an interruption can be compared; the same command goes on.
``--jobs`` processes of one thread each share the cells. Prints a Markdown table and writes
``benchmarks/results/evidence/<recipe>.json``: the comparison, its recipe, the losses of training,
and where and in how much time it was made. The table is of the half of the validation images that
settings were not chosen on, or of those of ``--half``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats

from lwdna.engine import read_metrics
from lwdna.files import write_json

RECIPES = {
    "cifar100/resnet20-half-short": "cifar100",
    "cifar100/regnetx-002-short": "cifar100",
    "cifar100/mobilenetv3-half-short": "cifar100",
    "cifar100/densenet-bc40-half-short": "cifar100",
    "tiny-imagenet20/resnet20-half-short": "imagefolder-tinyimagenet20",
    "tiny-imagenet20/regnetx-002-short": "imagefolder-tinyimagenet20",
    "tiny-imagenet20/mobilenetv3-half-short": "imagefolder-tinyimagenet20",
    "tiny-imagenet20/densenet-bc40-half-short": "imagefolder-tinyimagenet20",
}
"""Recipes and the folder of their data."""
TRIALS = {
    "evidence/uniform8": "cifar100",
    "evidence/vgg11": "cifar100",
    "evidence/resnet20": "cifar100",
    "evidence/densenet": "cifar100",
    "evidence/unet": "restoration",
}
"""Those of the search by trials, which name their arms themselves."""
TRACKERS = {"evidence/tracker": "tracking", "evidence/tracker-swapped": "tracking"}
"""A tracker, either half of the sequences to train on."""
GPU_RECIPES = {
    f"cifar100/{name}-gpu": "cifar100"
    for name in ("resnet20", "resnet56", "regnety-002", "mobilenetv2", "densenet40")
}
"""Those that are run only where they are asked for."""
ARMS = "baseline,lwdna,random,reversed"
RESULTS = Path(__file__).parent / "results" / "evidence"


def main() -> None:
    """Run what is missing, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--recipes",
        nargs="+",
        choices=[*RECIPES, *TRIALS, *TRACKERS, *GPU_RECIPES],
        default=list(RECIPES),
    )
    parser.add_argument("--trials", action="store_true", help="the recipes of the search by trials")
    parser.add_argument("--arms", default=ARMS, help="with commas, or all that the recipe names")
    parser.add_argument("--arm", action="append", default=[], help="as lwdna compare has it")
    parser.add_argument("--set", action="append", default=[], help="a value of all the recipes")
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--half", choices=["report", "choose", "whole"], default="report", help="validation images"
    )
    parser.add_argument("--table", action="store_true", help="only print what is there")
    arguments = parser.parse_args()
    if arguments.trials:
        arguments.recipes = list(TRIALS)
    if not arguments.table:
        run(arguments)
    rows = [
        (recipe, collect(recipe, arguments.out / recipe, arguments.results))
        for recipe in arguments.recipes
        if (arguments.out / recipe / "results.json").is_file()
    ]
    print("\n".join([*table(rows, arguments.half), *overall(rows, arguments.half)]))


def run(arguments: argparse.Namespace) -> None:
    """Let several workers go through all cells; each cell belongs to the one that holds it."""
    workers = [subprocess.Popen(["bash", "-c", script(arguments)]) for _ in range(arguments.jobs)]
    codes = [worker.wait() for worker in workers]
    if any(codes):
        sys.exit(f"a comparison failed (exit codes {codes}); the same command goes on")


def script(arguments: argparse.Namespace) -> str:
    """Return the commands of one worker, one line each, ending at the first that fails."""
    options = [word for arm in arguments.arm for word in ("--arm", arm)]
    options.append(f"seed={arguments.first_seed}")
    if arguments.arms != "all":
        options += ["--arms", arguments.arms]
    options += arguments.set
    lines = [
        shlex.join(
            [
                *(sys.executable, "-m", "lwdna", "compare", recipe, "--seeds", str(seeds)),
                f"data.root={arguments.data / (RECIPES | TRIALS | TRACKERS | GPU_RECIPES)[recipe]}",
                *([] if recipe in ("evidence/unet", *TRACKERS) else ["data.workers=0"]),
                *options,
                *("--out", str(arguments.out / recipe)),
            ]
        )
        for seeds in range(1, arguments.seeds + 1)
        for recipe in arguments.recipes
    ]
    return "\n".join(["set -e", "export OMP_NUM_THREADS=1", *lines])


def collect(recipe: str, folder: Path, results: Path) -> dict[str, Any]:
    """Return the results of one recipe and keep them with what they were made with."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    made = json.loads((folder / "timings.json").read_text(encoding="utf-8"))
    used = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    used["data"].pop("root")
    cells = [cell for by_seed in made.values() for cell in by_seed.values()]
    record = {
        "recipe": used,
        "versions": cells[0]["versions"],
        "machine": cells[0]["machine"],
        "hours": sum(map(seconds, made.values())) / 3600,
        "train_loss": {arm: curves(folder / "cells" / arm) for arm in found["arms"]},
        "searches": {arm: learnt(folder / "cells" / arm) for arm in found["arms"]},
        **found,
    }
    write_json(results / f"{recipe.replace('/', '-')}.json", record)
    return record


def learnt(arm: Path) -> dict[str, Any] | None:
    """Return law, trials and widths by group of a search that all seeds share, if there is one."""
    record = arm / "search" / "search.json"
    if not record.is_file():
        return None
    found = json.loads(record.read_text(encoding="utf-8"))
    widths = {group["name"]: [group["baseline"], group["found"]] for group in found["groups"]}
    return {"law": found["law"], "trials": found["trials"], "widths": widths}


def seconds(arm: dict[str, Any]) -> float:
    """Return what all trainings and searches of an arm took, from its ``timings.json``."""
    searches = [cell["search_seconds"] for cell in arm.values()]
    shared = all(cell["search_shared"] for cell in arm.values())
    trainings = sum(cell["train_seconds"] for cell in arm.values())
    return trainings + (max(searches) if shared else sum(searches))


def curves(arm: Path) -> dict[str, list[float]]:
    """Return the training loss of every epoch by seed."""
    found = {}
    for cell in sorted(arm.glob("seed*")):
        lines = read_metrics(cell / "training")
        found[cell.name.removeprefix("seed")] = [round(line["train_loss"], 4) for line in lines]
    return found


def table(rows: Sequence[tuple[str, dict[str, Any]]], part: str) -> list[str]:
    """Return a Markdown table of all arms against their baselines, in points, on one half."""
    lines = [
        "| recipe | arm | seeds | result | difference | 95 % interval "
        "| detectable | MACs | params |",
        "|---|---|---:|---|---:|---|---:|---:|---:|",
    ]
    for recipe, record in rows:
        half = record["halves"][part]
        base = record["arms"]["baseline"]
        differences = {d["arm"]: d for d in half["differences"] if d["to"] == "baseline"}
        for arm, one in half["arms"].items():
            cells = [
                recipe,
                arm,
                str(len(one["values"])),
                f"{one['mean']:.2f} ± {_number(one['sd'])}",
            ]
            if found := differences.get(arm):
                low, high = found["interval"] or (float("nan"),) * 2
                sure = "**" if found["sign"] else ""
                cells += [
                    f"{sure}{found['mean']:+.2f}{sure}",
                    f"{low:+.2f} to {high:+.2f}",
                    _number(found["detectable"]),
                    *(_share(record["arms"][arm], base, key) for key in ("macs", "params")),
                ]
            else:
                cells += [""] * 5
            lines.append("| " + " | ".join(cells) + " |")
    hours = sum(record["hours"] for _, record in rows)
    shared = any(record["machine"].get("gpu") for _, record in rows)
    what = "processes that share a GPU" if shared else "one core"
    return [*lines, "", f"{hours:.1f} hours of {what} in all."]


def overall(rows: Sequence[tuple[str, dict[str, Any]]], part: str) -> list[str]:
    """Return the mean of all cells' differences to the baseline for each arm that all cells have.

    The interval is that of a mean of independent means of unequal variance, each of as many values
    as seeds (Welch and Satterthwaite): it says what these cells gain, not what other ones would.
    """
    if not rows:
        return []
    lines = []
    shared = set.intersection(*(set(record["arms"]) for _, record in rows)) - {"baseline"}
    for arm in sorted(shared):
        differences = [_paired(record, arm, part) for _, record in rows]
        if min(len(values) for values in differences) < 2:
            continue
        shares = np.array([v.var(ddof=1) / len(v) for v in differences]) / len(rows) ** 2
        freedom = shares.sum() ** 2 / sum(
            share**2 / (len(v) - 1) for share, v in zip(shares, differences, strict=True)
        )
        mean = float(np.mean([values.mean() for values in differences]))
        reach = float(stats.t.ppf(0.975, freedom) * shares.sum() ** 0.5)
        interval = f"{mean - reach:+.2f} to {mean + reach:+.2f}"
        lines.append(f"All {len(rows)} cells, {arm}: {mean:+.2f} ({interval})")
    return lines


def _paired(record: dict[str, Any], arm: str, part: str) -> np.ndarray:
    """Return the differences to the baseline of the seeds that both have."""
    ours, theirs = (
        dict(
            zip(
                record["arms"][name]["seeds"],
                record["halves"][part]["arms"][name]["values"],
                strict=True,
            )
        )
        for name in (arm, "baseline")
    )
    return np.array([value - theirs[seed] for seed, value in ours.items() if seed in theirs])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _share(arm: dict[str, Any], base: dict[str, Any], key: str) -> str:
    return f"{100 * (sum(arm[key]) / len(arm[key]) / base[key][0] - 1):+.1f} %"


if __name__ == "__main__":
    if os.name != "posix":
        sys.exit("needs a POSIX shell")
    main()
