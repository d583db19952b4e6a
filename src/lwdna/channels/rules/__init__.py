"""Operator rules: one small function per ATen operator, one file per family of operators.

``table`` is where they register; ``call`` is what a rule sees of an operator's call.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from lwdna.channels.rules.elementwise import pointwise
from lwdna.channels.rules.table import RULES, Rule, register_rule
from lwdna.registry import declared

__all__ = ["RULES", "Rule", "register_rule", "rule_of"]

for _rule in declared(__name__, "register_rule").values():
    import_module(_rule.module)  # enters its rules into the table

POINTWISE = Rule(pointwise)


def rule_of(operator: Any) -> Rule | None:
    """Return the rule of an ATen operator; in-place operators share that of their namesakes."""
    full = operator._schema.name
    name = full.partition("::")[2]
    overload = operator._overloadname
    for known in (full, f"{name}.{overload}", name, name.removesuffix("_")):
        if known in RULES:
            return RULES[known]
    return POINTWISE if _is_pointwise(operator, full, overload) else None


def _is_pointwise(operator: Any, full: str, overload: str) -> bool:
    """Tell whether torch tags an operator, or its namesake that is not in place, as pointwise."""
    if torch.Tag.pointwise in operator.tags:
        return True
    namespace, _, name = full.partition("::")
    if not name.endswith("_"):
        return False
    namesake = getattr(getattr(torch.ops, namespace), name[:-1], None)
    other = getattr(namesake, overload, None)
    return other is not None and torch.Tag.pointwise in other.tags
