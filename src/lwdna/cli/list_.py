"""``lwdna list``."""

from __future__ import annotations

from typing import Annotated

import typer

from lwdna.errors import RecipeError


def list_(
    what: Annotated[
        str, typer.Argument(help="models, recipes, criteria, keep-rules or ops.")
    ] = "models",
    pattern: Annotated[str, typer.Argument(help="Shell pattern, quoted.")] = "*",
) -> None:
    """List networks, recipes, criteria, keep rules, or operators with a rule.

    Examples:

      lwdna list models '*resnet50*'

      lwdna list recipes
    """
    from fnmatch import fnmatch

    if what == "models":
        from lwdna.models import list_models

        names = list_models(pattern)
    elif what == "recipes":
        from lwdna.shipped import list_recipes

        names = [name for name in list_recipes() if fnmatch(name, pattern)]
    elif what == "criteria":
        from lwdna.methods.criteria import CRITERIA

        names = [
            f"{name:20} {known.summary.rstrip('.')} ({known.arguments['paper']})"
            for name, known in sorted(CRITERIA.declarations.items())
            if fnmatch(name, pattern)
        ]
    elif what == "keep-rules":
        from lwdna.methods.keep import KEEP_RULES

        names = [
            f"{name:20} {known.summary.rstrip('.')}"
            for name, known in sorted(KEEP_RULES.declarations.items())
            if fnmatch(name, pattern)
        ]
    elif what == "ops":
        from lwdna.registry import declared

        names = [
            f"{name}  {rule.module}.{rule.function}"
            for name, rule in sorted(declared("lwdna.channels.rules", "register_rule").items())
            if fnmatch(name, pattern)
        ]
    else:
        raise RecipeError(f"cannot list {what!r}; use models, recipes, criteria, keep-rules or ops")
    if not names:
        raise RecipeError(f"no {what} match {pattern!r}; see all with: lwdna list {what}")
    typer.echo("\n".join(names))
