"""The table of operator rules: one small function per ATen operator.

A rule maps the layouts of an operator's inputs to those of its outputs, and unifies what must
agree on the way. Operators that ATen tags as pointwise share one rule. An operator without a rule
pins whatever flows into it and is named in the graph's report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lwdna.channels.rules.call import Axes, Call

Layouts = Callable[[Call], Axes | list[Axes]]
"""Maps a call to the axes of its result, or to a list with those of each result."""

Arguments = dict[str, Any]
"""An operator's arguments by the names of its schema; its tensors are not among the values."""

Shapes = Sequence[Sequence[int]]
"""The shapes of all tensors among an operator's arguments, in order."""

Adapt = Callable[[Arguments, Shapes], Arguments]
"""Maps arguments to those that fit tensors of the given shapes."""


@dataclass(frozen=True)
class Rule:
    """All that is known of an operator."""

    layouts: Layouts
    adapt: Adapt | None = None


RULES: dict[str, Rule] = {}
"""Rules by operator name: ``"convolution"``, ``"split.Tensor"`` or ``"mylib::gate"``."""


def register_rule(*names: str, adapt: Adapt | None = None) -> Callable[[Layouts], Layouts]:
    """Register a function as the rule of the named operators; a name is taken only once.

    Args:
        names: an ATen operator's name, with its overload where that matters (``"convolution"``,
            ``"split.Tensor"``), or the full name of one's own (``"mylib::gate"``).
        adapt: for an operator with arguments that follow the widths (``groups`` of a depthwise
            convolution): given :data:`Arguments` and the :data:`Shapes` of other widths, returns
            the arguments that fit. It is asked where an operator is measured alone.

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

    def register(function: Layouts) -> Layouts:
        for name in names:
            if name in RULES:
                known = RULES[name].layouts.__name__
                raise ValueError(f"operator {name} already has the rule {known}")
        RULES.update(dict.fromkeys(names, Rule(function, adapt)))
        return function

    return register
