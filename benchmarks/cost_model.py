"""What trials, seeds, cells and fleets cost: from images per second to GPU hours.

    python benchmarks/cost_model.py --images-per-second 2500 --device "NVIDIA H100"
    python benchmarks/cost_model.py --images-per-second 2500 --device "NVIDIA H100" --write

``--images-per-second`` is what one GPU trains of the baseline, as `python benchmarks/training.py`
measures it. Everything else is arithmetic on the recipe ``imagenet/resnet50`` and its budget; costs
are first counted in trainings of the baseline, which need no measurement. Prints the tables of
``docs/cost.md``; ``--write`` puts them there, and without a rate the hours are left open.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lwdna.methods.settings import TrialSettings
from lwdna.recipe import load_recipe
from lwdna.reports.statistics import seeds_needed

RECIPE = "imagenet/resnet50"
TRAIN, VALIDATION = 1_281_167, 50_000
FORWARD = 1 / 3
"""Cost of a forward pass by that of a forward and a backward pass."""
FOUND = 3.7034 / 4.0892
"""MACs of the network found by the baseline's (docs/method.md)."""
WIDENED = 16.117 / 4.0892
ROUND = 8
"""Trials that are known at once, so that as many GPUs can share them."""
PROXY = 1 / 16
"""Half the width and half the side of the images."""
PAGE = Path(__file__).parents[1] / "docs" / "cost.md"
BEGIN, END = "<!-- begin: {} -->", "<!-- end: {} -->"
OPEN = "*open*"


@dataclass(frozen=True)
class Work:
    """Something done, in trainings of the baseline, and how many GPUs can share it."""

    what: str
    trainings: float
    gpus: int
    """As many independent pieces there are at once."""
    rounds: float
    """Trainings one after the other, with as many GPUs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images-per-second", type=float, help="of one GPU, in training")
    parser.add_argument("--device", default="", help="what that was measured on")
    parser.add_argument("--fleet", type=int, default=100, help="networks")
    parser.add_argument(
        "--relative", type=float, default=1.0, help="their mean cost by ResNet-50's"
    )
    parser.add_argument("--write", action="store_true", help="into docs/cost.md")
    arguments = parser.parse_args()
    rate, epochs = arguments.images_per_second, load_recipe(RECIPE).train.epochs
    hours = rate and training_hours(rate, epochs)
    where = f"{rate:,.0f} images per second on {arguments.device or 'one GPU'}" if rate else OPEN
    head = f"One training of the baseline, {epochs} epochs: "
    head += f"{hours:.1f} GPU hours at {where}.\n\n" if hours else f"{where} GPU hours.\n\n"
    tables = {
        "imagenet": head + works_table(list(imagenet(epochs)), hours),
        "fleet": fleet_table(arguments.fleet, arguments.relative, epochs, hours),
        "seeds": seeds_table(),
    }
    text = PAGE.read_text(encoding="utf-8") if arguments.write else ""
    for name, table in tables.items():
        print(f"{table}\n")
        if arguments.write:
            text = replaced(text, name, table)
    if arguments.write:
        PAGE.write_text(text, encoding="utf-8")


def training_hours(rate: float, epochs: int) -> float:
    """Return GPU hours of a training with an evaluation after every epoch."""
    return epochs * (TRAIN + FORWARD * VALIDATION) / rate / 3600


def imagenet(epochs: int) -> Iterator[Work]:
    """Yield what the verbs do for one network."""
    recipe, trials = load_recipe(RECIPE), TrialSettings()
    scored = recipe.shrink.batches * recipe.shrink.batch_size * WIDENED
    search = scored / (epochs * (TRAIN + FORWARD * VALIDATION))
    short = trials.count * trials.length
    rounds = math.ceil(trials.count / ROUND) * trials.length
    cells, others = 5 * 3, 4 * 3
    compared = (cells - others) + others * FOUND
    yield Work("`train`: the baseline", 1, 1, 1)
    yield Work("`shrink` by a criterion", search, 1, search)
    yield Work("`train`: the network found", FOUND, 1, FOUND)
    yield Work(f"`shrink` with {trials.count} trials of half a training", short, ROUND, rounds)
    yield Work("the same on a proxy, half the width and side", short * PROXY, ROUND, rounds * PROXY)
    yield Work("`slim` of a trained network, a third of the epochs", 1 / 3, 1, 1 / 3)
    yield Work("`compare`: 5 arms, 3 seeds", compared, cells, 1)
    yield Work("`compare`, and one arm with trials", compared + short, cells, 1 + rounds)


def works_table(works: list[Work], hours: float | None) -> str:
    lines = [
        "| what | trainings | GPU hours | GPUs that can share it | hours with that many |",
        "|---|---:|---:|---:|---:|",
    ]
    for work in works:
        columns = f"| {work.what} | {number(work.trainings)} | {times(work.trainings, hours)} "
        lines.append(f"{columns}| {work.gpus} | {times(work.rounds, hours)} |")
    return "\n".join(lines)


def fleet_table(count: int, relative: float, epochs: int, hours: float | None) -> str:
    """Return what a policy costs for a fleet of networks."""
    one = {work.what: work.trainings for work in imagenet(epochs)}
    baseline, criterion, found, trials, proxy, slim, compare, _ = one.values()
    policies = {
        "slim every network, which is trained already": slim,
        "shrink by a criterion, train what is found": criterion + found,
        "the same, and the baseline beside it": baseline + criterion + found,
        "the same with trials on a proxy": baseline + proxy + found,
        "the same with trials of the network": baseline + trials + found,
        "compare 5 arms with 3 seeds": compare,
    }
    lines = [
        f"{count} networks of {relative:g} times ResNet-50's cost in the mean:\n",
        "| policy | cells and trials | trainings | GPU hours | days on 64 GPUs |",
        "|---|---:|---:|---:|---:|",
    ]
    pieces = (1, 1, 2, 2 + 32, 2 + 32, 15)
    for (policy, each), cells in zip(policies.items(), pieces, strict=True):
        whole = count * relative * each
        days = times(whole / 64 / 24, hours)
        lines.append(
            f"| {policy} | {count * cells:,} | {number(whole)} | {times(whole, hours)} | {days} |"
        )
    return "\n".join(lines)


def seeds_table() -> str:
    """Return how many seeds show a difference, with a probability of 80 %."""
    ratios = (2.0, 1.5, 1.0, 0.75, 0.5)
    lines = [
        "| difference, in standard deviations of the paired differences | "
        + " | ".join(f"{ratio:g}" for ratio in ratios)
        + " |",
        "|---|" + "---:|" * len(ratios),
        "| seeds | " + " | ".join(str(seeds_needed(1.0, ratio)) for ratio in ratios) + " |",
    ]
    return "\n".join(lines)


def times(trainings: float, hours: float | None) -> str:
    return OPEN if hours is None else number(trainings * hours)


def number(value: float) -> str:
    """Return three digits that count, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.1g}".replace("e-0", "e-")


def replaced(text: str, name: str, table: str) -> str:
    """Return the page with another table between its marks.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, end = BEGIN.format(name), END.format(name)
    before, after = text.index(begin) + len(begin), text.index(end)
    return f"{text[:before]}\n{table}\n{text[after:]}"


if __name__ == "__main__":
    main()
