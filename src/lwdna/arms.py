"""The arms of a comparison: what each of them changes in the search, and in nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import yaml
from pydantic import Field, JsonValue, ValidationError, field_validator

from lwdna.errors import RecipeError, nearest
from lwdna.settings import Settings

BASELINE = "baseline"
STANDARD: dict[str, dict[str, JsonValue]] = {
    BASELINE: {},
    "lwdna": {},
    "uniform": {"criterion": "uniform", "keep": None, "trials": None},
    "random": {"criterion": "random", "keep": None, "trials": None},
    "reversed": {"reverse": True, "trials": None},
}
"""Arms that need no description; the baseline is not searched for, and no trials mend controls.
What the recipe says of keeping is for its own criterion: places in an order have a rule of their
own."""

Arms = dict[str, dict[str, JsonValue] | None]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class CompareSettings(Settings):
    """The ``compare`` section of a recipe."""

    seeds: int = Field(default=5, ge=1)
    """How many times each arm is trained; the first time with the recipe's seed."""
    search: Literal["each", "once"] | None = None
    """Whether each seed of an arm has a search of its own, or the arm is searched once, with the
    recipe's seed, for all of them. None is once for arms with trials, whose searches cost many
    trainings, and each for others."""
    arms: Arms = Field(default_factory=lambda: dict.fromkeys(STANDARD), validate_default=True)
    """Arms by name: what replaces values of the ``shrink`` section, as ``{criterion: taylor}``.
    Nothing stands for what the standard arm of that name does."""

    @field_validator("arms")
    @classmethod
    def _described(cls, arms: Arms) -> Arms:
        for name, changes in arms.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"the arm {name!r} needs a name of letters, digits, '.', '_', '-'")
            if changes is None and name not in STANDARD:
                raise ValueError(
                    f"the arm {name!r} is none of the standard ones "
                    f"({', '.join(STANDARD)}); say what it changes, as {{criterion: taylor}}"
                )
        if arms.get(BASELINE):
            raise ValueError("the baseline is not searched for: there is nothing to change")
        described = {name: STANDARD[name] if v is None else v for name, v in arms.items()}
        return {BASELINE: {}, **described}


def comparison_of(
    arms: Arms, seeds: int, search: Literal["each", "once"] | None = None
) -> CompareSettings:
    """Return checked settings; the arguments are its fields.

    Raises:
        RecipeError: an arm has no proper name or nothing to change.
    """
    try:
        return CompareSettings(seeds=seeds, arms=arms, search=search)
    except ValidationError as error:
        raise RecipeError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error


def parse_arm(text: str) -> tuple[str, dict[str, JsonValue]]:
    """Read an arm as the command line gives it: ``NAME=shrink.KEY=VALUE,shrink.KEY=VALUE``.

    Raises:
        RecipeError: saying how to write it.
    """
    name, equals, rest = text.partition("=")
    changes: dict[str, JsonValue] = {}
    for part in re.split(r",(?=shrink\.)", rest):
        key, sign, value = part.partition("=")
        if not equals or not sign or not key.startswith("shrink."):
            raise RecipeError(
                f"cannot read the arm {text!r}: write NAME=shrink.KEY=VALUE,shrink.KEY=VALUE, "
                "for example taylor=shrink.criterion=taylor,shrink.floor=0.2"
            )
        try:
            changes[key.removeprefix("shrink.")] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"the value of {key} in the arm {name} is not YAML") from error
    return name, changes


def choose_arms(known: Mapping[str, Any], names: Iterable[str]) -> Arms:
    """Return the arms of these names, out of ``known`` and the standard ones.

    Raises:
        RecipeError: there is no such arm.
    """
    everything: Arms = {**STANDARD, **known}
    chosen: Arms = {}
    for name in names:
        if name not in everything:
            hint = nearest(name, everything) or f"; there are {', '.join(everything)}"
            raise RecipeError(f"there is no arm {name}{hint}; describe it with --arm")
        chosen[name] = everything[name]
    return chosen
