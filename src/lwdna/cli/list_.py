"""``lwdna list``."""

from __future__ import annotations

from fnmatch import fnmatch
from importlib import import_module
from typing import Annotated

import typer

from lwdna.errors import RecipeError, nearest

TABLES = {
    "criteria": ("lwdna.methods.criteria.table", "CRITERIA"),
    "keep-rules": ("lwdna.methods.keep.table", "KEEP_RULES"),
    "tasks": ("lwdna.tasks.table", "TASKS"),
    "formats": ("lwdna.data.data_format", "FORMATS"),
    "transforms": ("lwdna.transforms.table", "TRANSFORMS"),
}
"""Where the tables are that a decorator adds to."""
WHAT = ("models", "recipes", *TABLES, "ops")
_ALL = f"{', '.join(WHAT[:-1])} or {WHAT[-1]}"


def list_(
    what: Annotated[str, typer.Argument(help=f"{_ALL}.")] = "models",
    pattern: Annotated[str, typer.Argument(help="Shell pattern, quoted.")] = "*",
) -> None:
    """List networks, recipes, what recipes can name, or operators with a rule.

    Examples:

      lwdna list models '*resnet50*'

      lwdna list criteria
    """
    if what not in WHAT:
        raise RecipeError(f"cannot list {what!r}{nearest(what, WHAT)}; use {_ALL}")
    lines = _lines(what, pattern)
    if not lines:
        raise RecipeError(f"no {what} match {pattern!r}; see all with: lwdna list {what}")
    typer.echo("\n".join(lines))


def _lines(what: str, pattern: str) -> list[str]:
    if what == "models":
        from lwdna.models import list_models

        return list_models(pattern)
    if what == "recipes":
        return _recipes(pattern)
    if what == "ops":
        from lwdna.registry import declared

        known = sorted(declared("lwdna.channels.rules", "register_rule").items())
        return [f"{name}  {o.module}.{o.function}" for name, o in known if fnmatch(name, pattern)]
    module, table = TABLES[what]
    lines = []
    for name, known in sorted(getattr(import_module(module), table).declarations.items()):
        paper = known.arguments.get("paper")
        if fnmatch(name, pattern):
            source = f" ({paper})" if paper else ""
            lines.append(f"{name:20} {known.summary.rstrip('.')}{source}")
    return lines


def _recipes(pattern: str) -> list[str]:
    """Return a line per recipe: name, network, data, epochs, what it is."""
    from lwdna.shipped import list_recipes, summary_of

    found = [summary_of(name) for name in list_recipes() if fnmatch(name, pattern)]
    rows = [(one.name, one.network, one.data, f"{one.epochs} epochs", one.about) for one in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
