"""How good a network is class by class, and which classes it mistakes for which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwdna.arrays import Arrays, read_arrays, write_arrays
from lwdna.errors import FileError
from lwdna.run_folder import PREDICTIONS

WORST = 10
"""Classes, and confusions, that results name."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """What a network chose for every validation example."""

    true: Numbers
    """Class of every example, shape (N,)."""
    chosen: Numbers
    """The class chosen, -1 where none was, shape (N,)."""
    probability: NDArray[np.float64]
    """That of the class chosen, from 0 to 1, shape (N,)."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the class chosen is the true one, shape (N,)."""
        return np.equal(self.true, self.chosen)


@dataclass(frozen=True)
class ClassFigure:
    """How good a network is at the examples of a class."""

    number: int
    examples: int
    right: int

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100 * self.right / self.examples


@dataclass(frozen=True)
class Confusion:
    """How often a class was taken for another."""

    true: int
    chosen: int
    count: int


def write_predictions(folder: Path, predictions: Predictions) -> None:
    """Write ``predictions.safetensors``, ten bytes per example.

    Raises:
        FileError: it cannot be written.
    """
    arrays: Arrays = {
        "true": predictions.true.astype(np.int32),
        "chosen": predictions.chosen.astype(np.int32),
        "probability": predictions.probability.astype(np.float16),
    }
    write_arrays(folder / PREDICTIONS, arrays)


def read_predictions(folder: Path) -> Predictions | None:
    """Return what a training left in its folder; None where it told no classes.

    Raises:
        FileError: the file is damaged.
    """
    path = folder / PREDICTIONS
    if not path.is_file():
        return None
    arrays = read_arrays(path, checked=True)
    try:
        true, chosen = (arrays[name].astype(np.int64) for name in ("true", "chosen"))
        return Predictions(true, chosen, arrays["probability"].astype(np.float64))
    except LookupError as error:
        raise FileError(f"{path} lacks {error}; repeat the step that wrote it") from error


def same_examples(several: Iterable[Predictions]) -> bool:
    """Whether predictions are of the same examples, as far as their classes tell."""
    first, *others = several
    return all(np.array_equal(first.true, one.true) for one in others)


def by_class(predictions: Predictions) -> list[ClassFigure]:
    """Return how good a network is at each class that has examples, in the order of the classes."""
    examples = np.bincount(predictions.true)
    right = np.bincount(predictions.true[predictions.right], minlength=len(examples))
    return [
        ClassFigure(number, int(examples[number]), int(right[number]))
        for number in np.flatnonzero(examples).tolist()
    ]


def confusions(predictions: Predictions) -> list[Confusion]:
    """Return which classes were taken for which others, the most frequent first."""
    wrong = ~predictions.right & (predictions.chosen >= 0)
    pairs = np.stack([predictions.true[wrong], predictions.chosen[wrong]], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    told = [
        Confusion(true, chosen, count)
        for (true, chosen), count in zip(found.tolist(), counts.tolist(), strict=True)
    ]
    return sorted(told, key=lambda one: (-one.count, one.true, one.chosen))


def class_results(predictions: Predictions, names: Sequence[str] | None) -> dict[str, Any]:
    """Return what a ``results.json`` says of the classes: the worst, and what is taken for what.

    Args:
        predictions: of all validation examples.
        names: of the classes; without, their numbers stand for them.
    """
    worst = sorted(by_class(predictions), key=lambda one: (one.accuracy, one.number))[:WORST]
    return {
        "worst": [
            {
                "class": name_of(one.number, names),
                "accuracy": round(one.accuracy, 2),
                "examples": one.examples,
            }
            for one in worst
        ],
        "confusions": [
            {
                "true": name_of(one.true, names),
                "chosen": name_of(one.chosen, names),
                "count": one.count,
            }
            for one in confusions(predictions)[:WORST]
        ],
    }


def name_of(number: int, names: Sequence[str] | None) -> str:
    """Return what a class is called."""
    return str(number) if names is None or not 0 <= number < len(names) else names[number]
