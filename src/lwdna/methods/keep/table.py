"""The table of keep rules: how scores decide which units stay.

A keep rule is a function

    rule(graph, scores, least, limits, multiple, **options) -> Kept

of the baseline's channel graph, one score per widened unit by group, the floor by group, what the
network may cost, and of what its widths should be multiples, by group. Its file needs no torch when
it is imported, because recipes check its options: scores are used by their methods alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import JsonValue

from lwdna.errors import nearest
from lwdna.methods.budget import Budget
from lwdna.registry import Registry
from lwdna.settings import Settings

RULE = "rule"
"""The key of a rule's name beside its options."""


@dataclass(frozen=True)
class Kept:
    """Widths that meet a budget."""

    widths: dict[str, int]
    threshold: float | None
    """The lowest score that kept a unit above its floor, where the score alone decided."""


@dataclass(frozen=True)
class KeepRule:
    """How scores become widths."""

    keep: Callable[..., Kept]
    """See the beginning of this module. Raises BudgetError where no widths meet the limits."""
    options: type[Settings] = Settings
    """What a recipe may say of it, the function's keyword arguments."""
    requires: Callable[[Budget], None] | None = None
    """Raises RecipeError where the rule cannot keep such a budget."""


F = TypeVar("F", bound=Callable[..., Kept])

KEEP_RULES: Registry[KeepRule] = Registry("keep rule", "lwdna.methods.keep", "register_keep_rule")
"""The rules by the name that recipes give them."""


def register_keep_rule(
    name: str,
    *,
    options: type[Settings] = Settings,
    requires: Callable[[Budget], None] | None = None,
) -> Callable[[F], F]:
    """Return a decorator that puts a function into the table of keep rules.

    The first line of the function's docstring is what ``lwdna list keep-rules`` says of it.

    Args:
        name: what recipes call the rule.
        options: the keyword arguments that a recipe may give, with their defaults and limits.
        requires: raises RecipeError where the rule cannot keep a budget.

    Raises:
        ValueError: another function has that name, or an option is called ``rule``.

    Example:
        >>> @register_keep_rule("floors")
        ... def keep_floors(graph, scores, least, limits, multiple):
        ...     '''Nothing above the floors.'''
        ...     return Kept(dict(least), None)
    """
    if RULE in options.model_fields:
        raise ValueError(f"an option of the keep rule {name!r} is called {RULE!r}; rename it")

    def register(function: F) -> F:
        KEEP_RULES.add(name, KeepRule(function, options, requires), function)
        return function

    return register


Choice = str | dict[str, JsonValue]
"""A keep rule as a recipe has it: its name or, with options, ``{rule: NAME, OPTION: VALUE}``."""


def in_full(given: object) -> Choice:
    """Return a choice of a keep rule with the rule's name and all of its options.

    A rule without options is its name alone. A mapping without a name means the only rule that has
    all the options given.

    Raises:
        ValueError: there is no such rule, or it has no such option.
        ValidationError: an option's value is not allowed.
    """
    if not isinstance(given, str | dict):
        raise ValueError(
            f"write the name of a keep rule ({', '.join(KEEP_RULES)}), or a mapping with its "
            "options"
        )
    values = {RULE: given} if isinstance(given, str) else dict(given)
    name = KEEP_RULES.check(str(values.pop(RULE))) if RULE in values else _rule_with(values)
    kind = KEEP_RULES[name].options
    for option in values:
        if option not in kind.model_fields:
            hint = nearest(str(option), kind.model_fields) or (
                f"; it has {', '.join(kind.model_fields) or 'none'}"
            )
            raise ValueError(f"the keep rule {name} has no option {option!r}{hint}")
    options = kind.model_validate(values).model_dump(mode="json")
    return {RULE: name, **options} if options else name


def chosen(choice: Choice) -> tuple[str, KeepRule, dict[str, Any]]:
    """Return a rule's name, the rule, and the options that its function is called with.

    Raises:
        ValueError: as :func:`in_full`.
    """
    full = in_full(choice)
    values: dict[str, JsonValue] = {RULE: full} if isinstance(full, str) else dict(full)
    name = str(values.pop(RULE))
    rule = KEEP_RULES[name]
    return name, rule, dict(rule.options.model_validate(values))


def keys() -> list[str]:
    """Return what the mapping of a choice may hold: ``rule`` and the options of all rules."""
    options = (name for rule in KEEP_RULES.values() for name in rule.options.model_fields)
    return list(dict.fromkeys((RULE, *options)))


def _rule_with(options: Iterable[str]) -> str:
    """Return the only rule that has all of these options."""
    wanted = list(options)
    found = [
        name
        for name, rule in KEEP_RULES.items()
        if all(option in rule.options.model_fields for option in wanted)
    ]
    if len(found) == 1:
        return found[0]
    unknown = [option for option in wanted if option not in keys()]
    if unknown:
        hint = nearest(str(unknown[0]), keys()) or f"; there are {', '.join(keys()[1:])}"
        raise ValueError(f"no keep rule has an option {unknown[0]!r}{hint}")
    which = ", ".join(found) if found else "none has all of these options"
    raise ValueError(f"say which rule, as {{{RULE}: NAME}} ({which})")
