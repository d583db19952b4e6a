"""What the commands share: reading a recipe with overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from lwdna.errors import RecipeError
from lwdna.recipe import Recipe, load_recipe


def split_arguments(arguments: Sequence[str] | None) -> tuple[str | None, list[str]]:
    """Return the recipe (the argument without an equals sign) and the overrides."""
    recipes = [argument for argument in arguments or () if "=" not in argument]
    if len(recipes) > 1:
        raise RecipeError(f"one recipe at a time, got {', '.join(recipes)}")
    overrides = [argument for argument in arguments or () if "=" in argument]
    return (recipes[0] if recipes else None), overrides


def read_recipe(
    arguments: Sequence[str] | None,
    model: str | None,
    data: Path | None,
    default: str | None = None,
) -> tuple[str, Recipe]:
    """Return the recipe's short name and the recipe with all overrides.

    Without a recipe, ``--model`` with ``--data`` use the recipe for image folders.
    """
    named, overrides = split_arguments(arguments)
    if named is None:
        named = default or ("images" if data else None)
    if named is None:
        raise RecipeError("name a recipe (see `lwdna list recipes`), or give --model and --data")
    if model is not None:
        overrides.append(f"model.name={_quoted(model)}")
    if data is not None:
        overrides.append(f"data.root={_quoted(str(data))}")
    return Path(named).stem, load_recipe(named, overrides)


def _quoted(text: str) -> str:
    """Return ``text`` as a YAML string, whatever it looks like."""
    return yaml.safe_dump(text, default_style='"').strip()
