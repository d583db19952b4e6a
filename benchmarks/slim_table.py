"""What ``slim.py`` wrote, as means over seeds, paired differences and a table.

    python benchmarks/slim_table.py slim.jsonl --out benchmarks/results/slim.json --table slim.md

Differences are of accuracy after tuning, ours minus theirs with the same seeds, with the 95 %
interval of Student's t. Means, and the best of Torch-Pruning, are those over the seeds that all
methods of a network and budget have; differences are over all seeds that both have.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from lwdna.reports.statistics import compare

STAGES = ("pruned", "recalibrated", "tuned")
NEAR = 0.01
"""How far from the budget the MACs may be, relative to it, without a remark."""

Line = dict[str, Any]
Place = tuple[str, float]
"""Network and budget."""


@dataclass
class Lines:
    """The lines of a file by what they are."""

    runs: list[Line] = field(default_factory=list)
    bases: dict[tuple[str, int], Line] = field(default_factory=dict)
    cells: dict[Place, dict[str, dict[int, Line]]] = field(default_factory=dict)
    """By network and budget, method and seed."""
    tuned_dense: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    failed: list[Line] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    lines = read(arguments.file)
    found = summary(lines)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = table(found)
    if arguments.table:
        arguments.table.write_text(text, encoding="utf-8")
    print(text)
    print("\n".join(said(found)))


def read(file: Path) -> Lines:
    found = Lines()
    for text in file.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if line["kind"] == "run":
            found.runs.append(line)
        elif "error" in line:
            found.failed.append(line)
        elif line["kind"] == "base":
            found.bases[line["network"], line["seed"]] = line
        elif line["kind"] == "cell" and line["method"] == "dense":
            found.tuned_dense[line["network"]][line["seed"]] = line["tuned"]
        elif line["kind"] == "cell":
            by_method = found.cells.setdefault((line["network"], line["budget"]), {})
            by_method.setdefault(line["method"], {})[line["seed"]] = line
    return found


def summary(lines: Lines) -> dict[str, Any]:
    """Return what goes into the results: what ran, means by place and method, differences."""
    networks: dict[str, Any] = defaultdict(dict)
    for (network, seed), base in lines.bases.items():
        networks[network][str(seed)] = {key: base[key] for key in ("dense", "macs", "params")}
    bases = list(lines.bases.values())
    errors = ("network", "seed", "budget", "method", "error")
    return {
        "machine": sorted({base["machine"] for base in bases}),
        "versions": {**(bases[0]["versions"] if bases else {}), "torch-pruning": "1.6.1"},
        "settings": [run["settings"] for run in lines.runs],
        "dense": networks,
        "dense, tuned as long": dict(lines.tuned_dense),
        "places": [place_of(place, by_method) for place, by_method in sorted(lines.cells.items())],
        "failed": [{key: one[key] for key in errors if key in one} for one in lines.failed],
    }


def place_of(place: Place, by_method: Mapping[str, Mapping[int, Line]]) -> dict[str, Any]:
    """Return means and differences of a network at a budget."""
    network, budget = place
    shared = set.intersection(*map(set, by_method.values()))
    methods = {name: method_of(cells, budget, shared) for name, cells in by_method.items()}
    theirs = [name for name in methods if name.startswith("tp/")]
    best = max(theirs, key=lambda name: methods[name]["tuned"]["mean"], default=None)
    differences = {
        f"{own} - {other}": difference(by_method[own], by_method[other])
        for own in methods
        if own.startswith("ours/")
        for other in theirs
        if set(by_method[own]) & set(by_method[other])
    }
    return {
        "network": network,
        "budget": budget,
        "seeds of all": sorted(shared),
        "methods": methods,
        "best of Torch-Pruning": best,
        "differences": differences,
    }


def method_of(cells: Mapping[int, Line], budget: float, shared: Set[int]) -> dict[str, Any]:
    """Return a method's figures by seed, their means over the seeds that all methods have, and how
    it missed the budget where it did clearly."""
    found: dict[str, Any] = {}
    for key in ("macs", "params", *STAGES):
        values = {seed: cells[seed][key] for seed in sorted(cells)}
        found[key] = {"mean": round(mean(values[seed] for seed in shared), 4), "values": values}
    worst = max(found["macs"]["values"].values(), key=lambda macs: abs(macs / budget - 1))
    if abs(worst / budget - 1) > NEAR:
        found["off budget"] = f"{100 * (worst / budget - 1):+.1f} %"
    return found


def difference(own: Mapping[int, Line], other: Mapping[int, Line]) -> dict[str, Any]:
    """Return by how much ``own`` is better after tuning, in points, paired over seeds."""
    seeds = sorted(set(own) & set(other))
    ours, theirs = (np.array([[one[seed]["tuned"]] for seed in seeds]) for one in (own, other))
    found = compare(theirs, ours)
    interval = found.t_interval and [round(end, 3) for end in found.t_interval]
    return {"seeds": seeds, "mean": round(found.mean, 3), "t_interval": interval}


def table(found: Mapping[str, Any]) -> str:
    """Return one row per method, pruned / recalibrated / tuned for each network and budget."""
    places = found["places"]
    names = [name for place in places for name in place["methods"]]
    order = sorted(dict.fromkeys(names), key=lambda name: (not name.startswith("ours/"), name))
    heads = [f"{place['network']}, {place['budget']:.3g} of MACs" for place in places]
    rows = [["", *heads], ["---", *("---:" for _ in places)]]
    rows.append(["dense", *(dense_in(found, place["network"]) for place in places)])
    rows += [[name, *(entry(place, name) for place in places)] for name in order]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def dense_in(found: Mapping[str, Any], network: str) -> str:
    """Return a dense network's accuracy and, where it was tuned as long, that."""
    before = mean(one["dense"] for one in found["dense"][network].values())
    tuned = found["dense, tuned as long"].get(network)
    return f"{before:.1f}" + (f" / {mean(tuned.values()):.1f}" if tuned else "")


def entry(place: Mapping[str, Any], name: str) -> str:
    one = place["methods"].get(name)
    if one is None:
        return ""
    best = max(other["tuned"]["mean"] for other in place["methods"].values())
    shown = [f"{one[stage]['mean']:.1f}" for stage in STAGES]
    if one["tuned"]["mean"] == best:
        shown[-1] = f"**{shown[-1]}**"
    return " / ".join(shown)


def said(found: Mapping[str, Any]) -> list[str]:
    """Return our differences to the best of Torch-Pruning, and what missed the budget or failed."""
    lines = []
    for place in found["places"]:
        head = f"{place['network']}, {place['budget']:.3g}"
        best = place["best of Torch-Pruning"]
        for pair, one in place["differences"].items():
            if pair.endswith(f" - {best}"):
                ends = one["t_interval"]
                interval = f" ({ends[0]:+.2f} to {ends[1]:+.2f})" if ends else ""
                lines.append(f"{head}: {pair}: {one['mean']:+.2f}{interval}, seeds {one['seeds']}")
        for name, one in place["methods"].items():
            if "off budget" in one:
                lines.append(f"{head}: {name} misses the budget of MACs by {one['off budget']}")
    return lines + [f"failed: {one}" for one in found["failed"]]


if __name__ == "__main__":
    main()
