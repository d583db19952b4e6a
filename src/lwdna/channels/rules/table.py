"""The table of operator rules: one small function per ATen operator.

A rule maps the layouts of an operator's inputs to those of its outputs, and unifies what must
agree on the way. Operators that ATen tags as pointwise share one rule. An operator without a rule
pins whatever flows into it and is named in the graph's report.
"""

from __future__ import annotations

from collections.abc import Callable

from lwdna.channels.rules.call import Axes, Call

Rule = Callable[[Call], Axes | list[Axes]]

RULES: dict[str, Rule] = {}
"""Rules by operator name: ``"convolution"``, ``"split.Tensor"`` or ``"mylib::gate"``."""


def register_rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of the named operators; a name is taken only once.

    Args:
        names: an ATen operator's name, with its overload where that matters (``"convolution"``,
            ``"split.Tensor"``), or the full name of one's own (``"mylib::gate"``).

    The function is given a :class:`~lwdna.channels.rules.call.Call` and returns the axes of the
    result, or a list with those of each result. A rule for an operator that pools pairs of
    channels::

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
