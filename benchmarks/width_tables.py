"""The searches of lwdna on tables of trained networks: how much of what is possible do they find?

    python benchmarks/width_tables.py --data DATA [--trials 16 32] [--draws 3] [--proxy 0.5]
    python benchmarks/width_tables.py --table FILE --classes N --side PIXELS

``DATA`` holds ``nats-bench-sss/cifar10.csv`` and ``cifar100.csv``: all 32,768 networks of the size
search space of NATS-Bench (Dong et al., TPAMI 2021, arXiv 2009.00437), each trained for 90 epochs.
A table has the columns ``widths`` (c0:c1:c2:c3:c4), ``macs``, ``params``, ``top1`` (percent, of one
training) and ``smooth`` (the same without noise).

Baselines are the networks whose widths do not fall with depth, the uniform ones among them. For
each the network is built and traced, its MACs and parameters are compared with the table, and
lwdna searches within four budgets:

- ``trials``: the search by trials, unchanged but for a table in the place of training: a trial is
  a network's ``top1``, its loss the error, 100 - top1;
- ``--criteria``: every criterion that needs no training, with every keep rule;
- ``--proxy 0.5``: beside the search by trials itself one whose trials are variants of a proxy of
  half the widths, from which the law is carried over, for baselines whose proxy is a baseline of
  the table, too.

Judged is ``smooth``, which no search sees: the gain over the baseline in points, as a share of the
best within a factor of 2 of every width, how many searches end more than 0.1 points below their
baseline, and the worst. Prints a table, writes ``benchmarks/results/width_tables-<name>.json``.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lwdna.channels import ChannelGraph, trace, widened_widths
from lwdna.engine import machine, versions
from lwdna.errors import BudgetError, LwdnaError
from lwdna.files import write_json
from lwdna.methods import Budget, ShrinkSettings
from lwdna.methods.answers import check_widths
from lwdna.methods.criteria import CRITERIA, Problem
from lwdna.methods.keep import KEEP_RULES, floors
from lwdna.methods.limits import Limits
from lwdna.methods.prepare import fresh
from lwdna.methods.space import Space
from lwdna.methods.trials.rounds import by_trials
from lwdna.methods.trials.runs import Trial
from width_network import EDITS, WIDTHS, SizeNetwork

BUDGETS = {
    "MACs 1, params 1": Budget(macs=1.0, params=1.0),
    "MACs 1, params 1.25": Budget(macs=1.0, params=1.25),
    "MACs 1, params 1.5": Budget(macs=1.0, params=1.5),
    "MACs 1": Budget(macs=1.0),
}
MULTIPLE, MOST = 8, 64
"""The widths that the tables hold."""
LOSS = 0.1
"""Points below the baseline that count as a loss."""
AFTER_WARMUP = {"autoslim", "batchnorm-scale", "latent-magnitude", "morphnet"}
"""Criteria that say nothing of fresh weights."""
RESULTS = Path(__file__).parent / "results"
Widths = tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """Networks and what they reached."""

    name: str
    classes: int
    side: int
    rows: Mapping[Widths, tuple[int, int, float, float]]
    """MACs, parameters, top-1 and its smoothed value by widths."""

    @classmethod
    def read(cls, file: Path, classes: int, side: int) -> Table:
        """Read a table of the columns widths, macs, params, top1, smooth."""
        with file.open(encoding="utf-8") as lines:
            rows = {
                tuple(map(int, line["widths"].split(":"))): (
                    int(line["macs"]),
                    int(line["params"]),
                    float(line["top1"]),
                    float(line["smooth"]),
                )
                for line in csv.DictReader(lines)
            }
        return cls(file.stem, classes, side, rows)

    def baselines(self) -> list[Widths]:
        """Return the networks whose widths are those of usual stages, in order."""
        return [
            (a, b, c, d, e)
            for a, b, c, d, e in self.rows
            if a <= b == c <= d == e and d > MULTIPLE and a < MOST
        ]

    def proxy_of(self, base: Widths, factor: float) -> Widths | None:
        """Return the baseline of ``factor`` the widths, if there is one."""
        a, b, c, d, e = (max(1, round(factor * width / MULTIPLE)) * MULTIPLE for width in base)
        found = (a, b, c, d, e)
        return found if found != base and found in self.baselines() else None

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Widths, (N, 5), and values, (N, 4)."""
        return np.array(list(self.rows)), np.array(list(self.rows.values()), dtype=np.float64)

    def best(self, base: Widths, budget: Budget) -> float:
        """Return the most that any network within a budget and a factor of 2 gains, in points."""
        widths, values = self.arrays
        ratios = widths / np.array(base)
        near = ((ratios <= 2) & (ratios >= 0.5)).all(1)
        own, fractions = self.rows[base], budget.fractions()
        for column, name in enumerate(("macs", "params")):
            near &= values[:, column] <= fractions.get(name, np.inf) * own[column]
        return float(values[near, 3].max() - own[3])


class TableLimits(Limits):
    """Limits on what the table's networks cost, which skip by the identity where they can."""

    @cached_property
    def _pixels(self) -> int:
        return self.graph.layers()[0].macs // (27 * self.graph.widths[WIDTHS[0]])

    def usage(self, widths: npt.ArrayLike) -> dict[str, np.ndarray]:
        """Return MACs and parameters of N networks, by name."""
        rows = np.asarray(widths, dtype=np.int64)
        found = super().usage(rows)
        column = {name: rows[:, i] for i, name in enumerate(self.graph.widths)}
        _, c1, c2, c3, c4 = (column[name] for name in WIDTHS)
        for share, before, after in ((4, c1, c2), (16, c3, c4)):
            same = before == after
            if "macs" in found:
                found["macs"] = found["macs"] - same * before * after * (self._pixels // share)
            if "params" in found:
                found["params"] = found["params"] - same * (before * after + 2 * after)
        return found


@dataclass(frozen=True)
class Case:
    """A baseline of a table: its network, traced."""

    table: Table
    base: Widths
    network: nn.Module
    graph: ChannelGraph
    order: tuple[int, ...]
    """The column of the table for every group of the graph."""

    @classmethod
    def of(cls, table: Table, base: Widths) -> Case:
        """Build and trace a network; make sure that it is that of the table."""
        example = torch.zeros(1, 3, table.side, table.side)
        cost = trace(SizeNetwork(base, table.classes), example).cost()
        if (cost.macs, cost.params) != table.rows[base][:2]:
            sys.exit(f"{base} has {cost}, the table says {table.rows[base][:2]}")
        network = SizeNetwork(base, table.classes, free=True)
        graph = trace(network, example, EDITS)
        order = tuple(WIDTHS.index(name) for name in graph.widths)
        if sorted(order) != list(range(len(WIDTHS))):
            sys.exit(f"{base} has the groups {list(graph.widths)}, expected {list(WIDTHS)}")
        widths, values = table.arrays
        usage = TableLimits(graph, {"macs": 0.0, "params": 0.0}).usage(widths[:, order])
        if any((usage[n] != values[:, i]).any() for i, n in enumerate(("macs", "params"))):
            sys.exit(f"{table.name}: costs are not those of networks of that size and classes")
        return cls(table, base, network, graph, order)

    @cached_property
    def widened(self) -> dict[str, int]:
        """Twice the width, as far as the table goes."""
        most = {name: min(2.0, MOST / width) for name, width in self.graph.widths.items()}
        return widened_widths(self.graph, most)

    def space(self, budget: Budget) -> Space:
        """Return the networks of the table that the search may choose from."""
        least = floors(self.graph, self.widened, 0.25, 0.25)
        half = {name: max(least[name], -(-width // 2)) for name, width in self.graph.widths.items()}
        limits = TableLimits.of(self.graph, self.widened, budget)
        return Space(limits, half, self.widened, dict.fromkeys(self.widened, MULTIPLE))

    def row(self, widths: Mapping[str, int]) -> tuple[int, int, float, float]:
        """Return the table's row of a network."""
        own = dict(zip(self.order, widths.values(), strict=True))
        return self.table.rows[tuple(own[column] for column in range(len(own)))]

    def tried(self, wanted: Sequence[Mapping[str, int]], _: int) -> list[Trial]:
        """Look up what trainings would give."""
        return [Trial(dict(w), 100 - self.row(w)[2], 0.0, []) for w in wanted]

    def gain(self, widths: Mapping[str, int]) -> float:
        """Return what a network is better than the baseline, in points."""
        return self.row(widths)[3] - self.table.rows[self.base][3]


def searched(
    table: Table, counts: Sequence[int], draws: int, factor: float | None, base: Widths
) -> list[dict[str, Any]]:
    """Search by trials around one baseline within all budgets, and by trials of its proxy."""
    case = Case.of(table, base)
    cases = {"": case}
    if factor is not None and (smaller := table.proxy_of(base, factor)):
        cases[f" of {factor:g} x the width"] = Case.of(table, smaller)
    found = []
    for name, budget in BUDGETS.items():
        space, best = case.space(budget), table.best(base, budget)
        for count, (of, tried), draw in product(counts, cases.items(), range(draws)):
            proxy = None if tried is case else tried.space(budget)
            chosen, _ = by_trials(space, count, tried.tried, draw, proxy=proxy)
            found.append(
                {
                    "base": base,
                    "budget": name,
                    "search": f"{count} trials{of}",
                    "draw": draw,
                    "best": best,
                    "gain": case.gain(chosen.widths),
                    "kept": chosen.kept_baseline,
                }
            )
    return found


def scored(table: Table, batches: int, base: Widths) -> list[dict[str, Any]]:
    """Choose widths by every criterion and keep rule around one baseline within all budgets."""
    case = Case.of(table, base)
    found = []
    for criterion in sorted(set(CRITERIA) - AFTER_WARMUP):
        settings = ShrinkSettings(criterion=criterion, multiple=MULTIPLE)
        wide = fresh(case.network, case.graph, case.widened, settings, 0)
        example = torch.zeros(1, 3, table.side, table.side)
        given = (wide, case.graph, case.widened, example, _noise(table, batches), _loss, settings)
        scores = CRITERIA[criterion].score(Problem(*given, seed=0))
        for name, budget in BUDGETS.items():
            best, space = table.best(base, budget), case.space(budget)
            for rule_name, rule in KEEP_RULES.items():
                given = (case.graph, scores, space.least, space.limits, space.steps)
                try:
                    if rule.requires:
                        rule.requires(budget)
                    kept = rule.keep(*given).widths
                    check_widths(kept, space, rule_name)
                except BudgetError:
                    kept = case.graph.widths  # nothing to remove
                except LwdnaError:
                    continue
                row = {"base": base, "budget": name, "search": f"{criterion}, {rule_name}"}
                found.append({**row, "draw": 0, "best": best, "gain": case.gain(kept)})
    return found


def _noise(table: Table, count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(32, 3, table.side, table.side, generator=generator),
            torch.randint(table.classes, (32,), generator=generator),
        )
        for _ in range(count)
    ]


def _loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(network(batch[0]), batch[1])


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one line for every search and budget."""
    lines = []
    for search in dict.fromkeys(row["search"] for row in rows):
        for budget in BUDGETS:
            own = [r for r in rows if (r["search"], r["budget"]) == (search, budget)]
            if not own:
                continue
            gains, best = (np.array([row[key] for row in own]) for key in ("gain", "best"))
            lines.append(
                {
                    "search": search,
                    "budget": budget,
                    "searches": len(own),
                    "best": float(best.mean()),
                    "gain": float(gains.mean()),
                    "share": float(gains.mean() / best.mean()),
                    "losses": float((gains < -LOSS).mean()),
                    "worst": float(gains.min()),
                }
            )
    return lines


def markdown(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield "| search | budget | best possible | gain | share | worse by > 0.1 | worst |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for one in lines:
        yield (
            f"| {one['search']} | {one['budget']} | {one['best']:.3f} | {one['gain']:+.3f} "
            f"| {one['share']:.0%} | {one['losses']:.1%} | {one['worst']:+.2f} |"
        )


def run(table: Table, arguments: argparse.Namespace) -> None:
    """Run the searches on one table, print and write what they found."""
    started = time.perf_counter()
    bases = table.baselines()
    if arguments.proxy is not None:
        bases = [base for base in bases if table.proxy_of(base, arguments.proxy)]
    bases = bases[:: arguments.every]
    work = partial(searched, table, arguments.trials, arguments.draws, arguments.proxy)
    if arguments.criteria:
        work = partial(scored, table, 2)
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        rows = [row for found in pool.imap(work, bases) for row in found]
    lines = summary(rows)
    print(f"\n{table.name}: {len(bases)} baselines\n", *markdown(lines), sep="\n", flush=True)
    what = "criteria" if arguments.criteria else "trials" if arguments.proxy is None else "proxy"
    record = {
        "table": table.name,
        "baselines": len(bases),
        "draws": arguments.draws,
        "summary": lines,
        "rows": rows,
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(),
        "machine": machine(),
    }
    write_json(arguments.results / f"width_tables-{what}-{table.name}.json", record)


def main() -> None:
    """Read the tables and run the searches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="holds nats-bench-sss/")
    source.add_argument("--table", type=Path, help="a file of the same columns")
    parser.add_argument("--classes", type=int, help="of the table's data set")
    parser.add_argument("--side", type=int, help="pixels of its images")
    parser.add_argument("--trials", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--draws", type=int, default=3, help="searches per baseline and budget")
    parser.add_argument("--criteria", action="store_true", help="criteria in place of trials")
    parser.add_argument("--proxy", type=float, help="factor on the widths of a proxy")
    parser.add_argument("--every", type=int, default=1, help="every n-th baseline only")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.table and not (arguments.classes and arguments.side):
        parser.error("--table needs --classes and --side")
    if arguments.table:
        tables = [Table.read(arguments.table, arguments.classes, arguments.side)]
    else:
        folder = arguments.data / "nats-bench-sss"
        tables = [
            Table.read(folder / f"{name}.csv", classes, 32)
            for name, classes in {"cifar10": 10, "cifar100": 100}.items()
        ]
    for table in tables:
        run(table, arguments)


if __name__ == "__main__":
    main()
