"""The table of operator rules: one small function per ATen operator.

A rule maps the layouts of an operator's inputs to those of its outputs, and unifies what must
agree on the way. Operators that ATen tags as pointwise share one rule. An operator without a rule
pins whatever flows into it and is named in the graph's report.
"""

from __future__ import annotations

from collections.abc import Callable

from lwdna.channels.call import Axes, Call

Rule = Callable[[Call], Axes | list[Axes]]

RULES: dict[str, Rule] = {}
"""Rules by operator name without namespace, ``"convolution"`` or ``"split.Tensor"``."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of the named operators; names are taken once."""

    def register(function: Rule) -> Rule:
        for name in names:
            if name in RULES:
                raise ValueError(f"operator {name} already has the rule {RULES[name].__name__}")
            RULES[name] = function
        return function

    return register


from lwdna.channels.rules import (  # noqa: E402  (the rule files fill the table)
    concat,
    conv,
    elementwise,
    index,
    linear,
    norm,
    pool,
    reduce,
    shape,
)

__all__ = [
    "RULES",
    "Rule",
    "concat",
    "conv",
    "elementwise",
    "index",
    "linear",
    "norm",
    "pool",
    "reduce",
    "rule",
    "shape",
]
