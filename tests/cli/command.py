"""The command line as a function, and data sets small enough for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from lwdna.cli.app import app

DIGITS = (
    "digits",
    "data.classes=4",
    "data.train_limit=16",
    "data.val_limit=16",
    "train.epochs=2",
    "train.warmup_epochs=0",
    "train.batch_size=16",
)
"""Sixty-four digits, four steps per epoch."""

PHOTOS = (
    "data.image_size=16",
    "data.workers=0",
    "shrink.batch_size=8",
    "train.epochs=1",
    "train.warmup_epochs=0",
    "train.batch_size=8",
)
"""Overrides of the recipe for image folders that fit :func:`image_folder`."""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def lwdna(*arguments: object) -> Outcome:
    """Run a command; an exception that would end in a traceback fails the test."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def done(*arguments: object) -> str:
    """Run a command that must succeed; return what it printed."""
    outcome = lwdna(*arguments)
    assert outcome.code == 0, outcome.err
    return outcome.out


def fault(*arguments: object) -> str:
    """Run a command that must fail with a single line of error; return the line."""
    outcome = lwdna(*arguments)
    assert outcome.code == 1, outcome
    lines = outcome.err.splitlines()
    assert lines[-1].startswith("error: ")
    assert [line for line in lines if line.startswith("error:")] == lines[-1:]
    assert "Traceback" not in outcome.err + outcome.out
    return lines[-1]


def image_folder(root: Path, classes: tuple[str, ...] = ("ant", "bee")) -> Path:
    """Write eight training and four validation images per class, 20 pixels wide."""
    generator = np.random.default_rng(0)
    for half, count in (("train", 8), ("val", 4)):
        for name in classes:
            folder = root / half / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (18, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def at_call(number: int, function: Callable[..., Any], act: Callable[[], None]) -> Any:
    """Return ``function``, changed to ``act`` before its call of that number."""
    calls = iter(range(1, 1000))

    def counting(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == number:
            act()
        return function(*args, **kwargs)

    return counting
