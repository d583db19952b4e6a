"""The table of operator rules: one small function per ATen operator.

A rule maps the layouts of an operator's inputs to those of its outputs, and unifies what must
agree on the way. Operators that ATen tags as pointwise share one rule. An operator without a rule
pins whatever flows into it and is named in the graph's report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lwdna.channels.call import Axes, Call

Rule = Callable[[Call], Axes | list[Axes]]

RULES: dict[str, Rule] = {}
"""Rules by operator name: ``"convolution"``, ``"split.Tensor"`` or ``"mylib::gate"``."""


def register_rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of the named operators; a name is taken only once.

    Args:
        names: an ATen operator's name, with its overload where that matters (``"convolution"``,
            ``"split.Tensor"``), or the full name of one's own (``"mylib::gate"``).

    The function is given a :class:`~lwdna.channels.call.Call` and returns the axes of the result,
    or a list with those of each result. A rule for an operator that pools pairs of channels::

        @lwdna.register_rule("mylib::pair_max")
        def pair_max(call):
            batch, channels, *space = call.axes(call["x"])
            return (batch, divide_inner(channels, 2, call.blame), *space)

    Raises:
        ValueError: the operator has a rule already.
    """

    def register(function: Rule) -> Rule:
        for name in names:
            if name in RULES:
                raise ValueError(f"operator {name} already has the rule {RULES[name].__name__}")
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def rule_of(operator: Any) -> Rule | None:
    """Return the rule of an ATen operator; in-place operators share that of their namesakes."""
    full = operator._schema.name
    name = full.partition("::")[2]
    overload = operator._overloadname
    for known in (full, f"{name}.{overload}", name, name.removesuffix("_")):
        if known in RULES:
            return RULES[known]
    return elementwise.pointwise if torch.Tag.pointwise in operator.tags else None


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
    "register_rule",
    "rule_of",
    "shape",
]
