"""Recipes that come with lwdna."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

import yaml

_ABOUT = 72
"""Letters of a description."""
_SENTENCE = re.compile(r".+?(?=(?<!et al)[.:;](?:\s|$)|$)")
_COMMANDS = ("lwdna ", "accelerate ")
_ROOT = re.compile(r"(?:data\.root=|--data )(\S+)")


@dataclass(frozen=True)
class Summary:
    """What a recipe is for, for a list."""

    name: str
    network: str
    data: str
    """Its format, or the name of the folder in the recipe's own example."""
    epochs: int
    about: str
    """The beginning of the comment at its top."""


def summary_of(name: str) -> Summary:
    """Return what a recipe is for, by its name."""
    text = shipped_recipes().joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    head = text.partition("\nmodel:")[0]
    comments = [line.strip("# ") for line in head.splitlines() if line.startswith("#")]
    about = " ".join(line for line in comments if line and not line.startswith(_COMMANDS))
    values = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    root = _ROOT.search(head)
    data = (values.get("data") or {}).get("kind", PurePosixPath(root[1]).name if root else "")
    sentence = _SENTENCE.match(about)
    return Summary(
        name=name,
        network=values["model"]["name"],
        data=data,
        epochs=values["train"]["epochs"],
        about=textwrap.shorten(sentence[0] if sentence else "", _ABOUT, placeholder=" ..."),
    )


def list_recipes() -> list[str]:
    """Return their names, such as ``digits`` or ``imagenet/resnet50``."""
    return sorted(_names(shipped_recipes(), ""))


def shipped_recipes() -> Traversable:
    """Return the folder they are in."""
    return files("lwdna") / "recipes"


def _names(folder: Traversable, prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _names(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix + entry.name.removesuffix(".yaml")
