"""What the report shows class by class: accuracies, frequent confusions, and small matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from lwdna.reports.axes import Axis, Tick
from lwdna.reports.bars import Bar
from lwdna.reports.class_figures import ClassFigure, Predictions, by_class, confusions, name_of
from lwdna.reports.formats import MISSING, format_percent, format_signed

FEW = 20
"""Classes up to which all are shown, and matrices drawn."""
_WORST = 10
"""Classes shown of more, and confusions."""


@dataclass(frozen=True)
class ClassRow:
    """One class: its accuracies in percent, that of the network found and of the baseline."""

    name: str
    examples: int
    values: tuple[float | None, float | None]
    """Of the baseline and of the network found."""
    texts: tuple[str, str]
    change: str
    """In points."""
    bar: Bar


@dataclass(frozen=True)
class ConfusionRow:
    """How often each network takes a class for another."""

    true: str
    chosen: str
    counts: tuple[int, ...]
    """By network."""


@dataclass(frozen=True)
class Matrix:
    """What a network takes the examples of each class for."""

    network: str
    rows: list[tuple[str, list[tuple[float, str, str]]]]
    """By true class: for every class chosen a share, its text in percent and a title."""


@dataclass(frozen=True)
class Classes:
    """Everything that the section shows."""

    networks: list[str]
    rows: list[ClassRow]
    """The worst first."""
    count: int
    """Classes with examples."""
    ticks: list[Tick]
    noise: str
    """How well the accuracy of a class is known."""
    confusions: list[ConfusionRow]
    names: list[str]
    """Of the matrices' columns."""
    matrices: list[Matrix]
    """None where there are many classes."""


def classes(
    baseline: Predictions | None, found: Predictions | None, names: Sequence[str] | None
) -> Classes | None:
    """Lay out what networks know of each class; ``None`` where neither tells classes.

    Args:
        baseline: what the baseline chose.
        found: what the network found chose, for the same examples.
        names: of the classes, if they have names.
    """
    known = {
        title: one for title, one in (("baseline", baseline), ("LW-DNA", found)) if one is not None
    }
    if not known:
        return None
    figures = [by_class(one) if one is not None else None for one in (baseline, found)]
    axis = Axis(0.0, 100.0, step=25.0)
    rows = sorted(_rows(figures, names, axis), key=_mean)
    shown = rows if len(rows) <= FEW else rows[:_WORST]
    few = len(rows) <= FEW
    return Classes(
        networks=list(known),
        rows=shown,
        count=len(rows),
        ticks=axis.ticks("{:g}".format),
        noise=_noise(rows),
        confusions=_confusions(known, names),
        names=[name_of(number, names) for number in _numbers(known)] if few else [],
        matrices=[_matrix(title, one, known, names) for title, one in known.items()] if few else [],
    )


def _rows(
    figures: Sequence[list[ClassFigure] | None], names: Sequence[str] | None, axis: Axis
) -> list[ClassRow]:
    by_number: dict[int, list[ClassFigure | None]] = {}
    for place, told in enumerate(figures):
        for one in told or ():
            by_number.setdefault(one.number, [None, None])[place] = one
    return [_row(number, both, names, axis) for number, both in by_number.items()]


def _row(
    number: int, both: Sequence[ClassFigure | None], names: Sequence[str] | None, axis: Axis
) -> ClassRow:
    before, after = (None if one is None else one.accuracy for one in both)
    texts = (_percent(before), _percent(after))
    change = MISSING
    if before is not None and after is not None:
        change = format_signed(after - before, 1, plus=True)
    return ClassRow(
        name=name_of(number, names),
        examples=next(one.examples for one in both if one is not None),
        values=(before, after),
        texts=texts,
        change=change,
        bar=Bar(axis.position(before or 0.0), axis.position(after or 0.0), None),
    )


def _percent(value: float | None) -> str:
    return format_percent(value, digits=1)


def _mean(row: ClassRow) -> float:
    return fmean(value for value in row.values if value is not None)


def _noise(rows: Sequence[ClassRow]) -> str:
    """Say how far the accuracy of a usual class may be off, by the normal approximation."""
    count = median(row.examples for row in rows)
    share = min(max(fmean(map(_mean, rows)) / 100, 0.5 / count), 1 - 0.5 / count)
    points = 100 * 1.96 * math.sqrt(share * (1 - share) / count)
    return (
        f"A class has about {count:.0f} images here, so its accuracy is known to about "
        f"±{points:.{0 if points >= 1.5 else 1}f} points: look at large differences only."
    )


def _confusions(
    known: Mapping[str, Predictions], names: Sequence[str] | None
) -> list[ConfusionRow]:
    counts: dict[tuple[int, int], dict[str, int]] = {}
    for title, one in known.items():
        for told in confusions(one):
            counts.setdefault((told.true, told.chosen), {})[title] = told.count
    most = sorted(counts, key=lambda pair: (-sum(counts[pair].values()), pair))[:_WORST]
    return [
        ConfusionRow(
            name_of(true, names),
            name_of(chosen, names),
            tuple(counts[true, chosen].get(title, 0) for title in known),
        )
        for true, chosen in most
    ]


def _numbers(known: Mapping[str, Predictions]) -> list[int]:
    """Return the classes that there are, or that some example was taken for."""
    every = np.concatenate([part for one in known.values() for part in (one.true, one.chosen)])
    return [int(number) for number in np.unique(every) if number >= 0]


def _matrix(
    title: str, one: Predictions, known: Mapping[str, Predictions], names: Sequence[str] | None
) -> Matrix:
    numbers = _numbers(known)
    rows = []
    for true in numbers:
        chosen = one.chosen[one.true == true]
        cells = []
        for number in numbers:
            count = int((chosen == number).sum())
            share = count / max(len(chosen), 1)
            said = f"{count} of {len(chosen)} images of {name_of(true, names)} taken for "
            text = f"{100 * share:.0f}" if count else ""
            cells.append((round(share, 3), text, said + name_of(number, names)))
        rows.append((name_of(true, names), cells))
    return Matrix(title, rows)
