"""Prove a channel graph: run the network again with every group at another width.

Numbers written into a user's ``forward`` cannot be seen while tracing. If the second run fails, or
any operator returns another shape than the graph predicts, the sizes kept in module attributes
near the failing operator are tried; if that does not help, the groups that cannot move are pinned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lwdna.channels.algebra.layout import Reason
from lwdna.channels.algebra.source import line_of, user_line
from lwdna.channels.copies.constants import Shapes, Steps
from lwdna.channels.copies.resize import reshaped
from lwdna.channels.graph.operators import Operator
from lwdna.channels.proof import values
from lwdna.channels.proof.freeze import Draft, freeze
from lwdna.channels.proof.repair import Failure, Repairs
from lwdna.channels.rules.call import tensors_of
from lwdna.channels.tracing.attention import plain_attention
from lwdna.channels.tracing.integers import Follower
from lwdna.channels.tracing.record import SILENT, by_name
from lwdna.channels.tracing.session import Session

MAX_REPLAYS = 64
"""Runs spent on finding the groups to blame for one failure; then whole sets are pinned."""


class _Differs(Exception):
    """The second run left the path of the first."""


class _Answered(BaseException):
    """The second run need not go on: it has shown whether values change."""


class _Replay(TorchDispatchMode):  # type: ignore[misc]
    """Compares operators and their results' shapes with those of the first run."""

    def __init__(
        self,
        session: Session,
        model: nn.Module,
        mode: bool,
        operators: Sequence[Operator],
        widths: Sequence[int],
        last: int | None,
    ) -> None:
        super().__init__()
        self.last = last
        self.constants = session.constants(model, mode in session.settles, self._predicted)
        self.records, self.operators = session.passes[mode], operators
        self.widths = widths
        self.position = 0
        self.changed: dict[int, Reason] = {}
        """Operators, by position, into which numbers enter that were others in the first run."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = self.constants.run(func, args, kwargs or {})
        outputs = tensors_of((result,))
        name = func._schema.name.partition("::")[2]
        if not outputs or name in SILENT or not tensors_of((*args, *(kwargs or {}).values())):
            return result
        if self.position >= len(self.operators):
            raise _Differs
        before = self.operators[self.position]
        if name != before.op or len(outputs) != len(before.outputs):
            raise _Differs
        if [list(output.shape) for output in outputs] != self._predicted():
            raise _Differs
        arguments = by_name(func, args, kwargs or {})
        constants = self.constants.entering(tensors_of(arguments.values()), outputs)
        if constants and values.values_differ(
            func, arguments, constants, self.records[self.position]
        ):
            self.changed[self.position] = Reason(
                "a value is computed from this width", before.op, before.module, user_line()
            )
        if self.last is not None and (self.changed or self.position >= self.last):
            raise _Answered
        self.position += 1
        return result

    def _predicted(self) -> Shapes | None:
        if self.position >= len(self.operators):
            return None
        outputs = self.operators[self.position].outputs
        return [[axis.length(self.widths) for axis in axes] for axes in outputs]


def verified(session: Session, known: Sequence[Follower] = ()) -> Draft:
    """Return a draft at which every group was seen to move, others pinned with the reason.

    Groups whose widths change values are marked as inexact. ``known`` are attributes that were
    found to follow before.
    """
    following = list(known)
    modules = dict(session.skeleton.named_modules())
    changed: dict[int, Reason] = {}
    repairs = Repairs(modules, lambda draft: _both_ways(session, draft, changed))
    steady = False
    while True:
        draft = freeze(session, following)
        failure = _both_ways(session, draft, changed)
        while failure is not None:
            found = repairs.attempt(draft, failure)
            if found is None:
                break
            draft, failure = found
        if failure is None:
            return _with_exactness(session, draft, changed)
        if not steady and replay(session, draft, []) is not None:
            return _frozen(session, draft, failure)
        steady = True
        following = followers(draft)
        for group in _culprits(session, draft, failure):
            draft.units[group].pinned = reason(failure)


def _both_ways(session: Session, draft: Draft, changed: dict[int, Reason]) -> Failure | None:
    """Run a draft with groups that are wider; where attributes follow, every other one narrower.

    A number that is too large may pass where groups are wider: Python cuts slices short.
    """
    failure = replay(session, draft, None, changed)
    for narrow in (0, 1) if draft.graph.attributes else ():
        failure = failure or replay(session, draft, narrow=narrow)
    return failure


def _with_exactness(session: Session, draft: Draft, changed: values.Changed) -> Draft:
    """Return the draft, groups whose widths change values marked as inexact."""

    def changes(moving: Sequence[int]) -> values.Changed:
        found: dict[int, Reason] = {}
        replay(session, draft, moving, found, last=max(changed))
        return found

    if values.mark_inexact(draft, changed, changes):
        return freeze(session, followers(draft))
    return draft


def followers(draft: Draft) -> list[Follower]:
    """Return the attributes found so far, in terms of units, to start a proof with."""
    return [
        Follower(a.module, a.name, a.index, draft.layout(a.axis)) for a in draft.graph.attributes
    ]


def reason(failure: Failure) -> Reason:
    """Return why a group that makes the second run fail is pinned."""
    operator = failure.operator
    op, module = (operator.op, operator.module) if operator else ("", failure.module)
    return Reason("a size is written into the network's code", op, module, failure.line)


def _frozen(session: Session, draft: Draft, failure: Failure) -> Draft:
    """Return a draft without groups, of a network that does not even repeat its own path."""
    for unit in draft.units:
        unit.pinned = replace(reason(failure), why="the network takes another path when run again")
    return freeze(session, [])


def replay(
    session: Session,
    draft: Draft,
    moving: Iterable[int] | None = None,
    changed: dict[int, Reason] | None = None,
    last: int | None = None,
    narrow: int | None = None,
) -> Failure | None:
    """Run the skeleton with groups (default: all) at other widths; return the first difference.

    They are wider; with ``narrow`` 0 or 1, those of even or odd numbers are narrower.

    ``changed`` is filled with the operators into which other numbers enter than in the first run,
    in evaluation mode, in which slices are exact. With ``last``, the run ends at the first of them
    or at the operator of that number.
    """
    changed = {} if changed is None else changed
    changed.clear()
    widths = dict(draft.graph.widths)
    for group in range(len(draft.units)) if moving is None else moving:
        name = draft.graph.groups[group].name
        other = _narrower if group % 2 == narrow else _wider
        widths[name] = other(widths[name], group)
    model = reshaped(session.skeleton, draft.graph, widths, session.fake)
    ordered = draft.graph.in_order(widths)
    for mode, operators in draft.operators.items():
        model.train(mode)
        settled = mode not in session.settles or _settles(session, model)
        rerun = _Replay(session, model, mode, operators, ordered, last)
        try:
            _run(session, model, rerun)
        except _Answered:
            changed.update(rerun.changed)
            return None
        except Exception as error:  # whatever the network raises: these widths do not run
            where = session.stack.current, line_of(error), narrow
            return Failure(mode, rerun.position, operators, *where)
        if rerun.position != len(operators) or not settled:
            return Failure(mode, rerun.position, operators, session.stack.current, "", narrow)
        if not mode:
            changed.update(rerun.changed)
    return None


def _settles(session: Session, model: nn.Module) -> bool:
    """Let a model run as for the first time; where that fails, the next run shows better why."""
    try:
        _run(session, model, Steps(session.constants(model, settled=False)))
    except Exception:  # whatever the network raises
        return False
    return True


def _run(session: Session, model: nn.Module, watched: Steps | _Replay) -> None:
    session.stack.restart()
    with (
        torch.no_grad(),
        session.fake,
        plain_attention(),
        watched.constants.reads,
        watched,
    ):
        session.run(model)


def _wider(width: int, group: int) -> int:
    """Return a larger width: sums of several groups cannot cancel, and equal groups come apart.

    It is more than twice as large, so that numbers rounded from a width change with it.
    """
    return 2 * width + 1 + 5 * group % 11


def _narrower(width: int, group: int) -> int:
    """Return a smaller width, if there is one above 1, which broadcasting takes for any other."""
    return width - 1 - 5 * group % (width // 2) if width > 4 else _wider(width, group)


def _culprits(session: Session, draft: Draft, failure: Failure) -> list[int]:
    """Return groups without which the run gets further, found by halving sets of suspects."""
    replays = 0

    def fails(moving: Sequence[int]) -> bool:
        nonlocal replays
        replays += 1
        again = replay(session, draft, moving, narrow=failure.narrow)
        return again is not None and again.progress <= failure.progress

    def guilty(suspects: Sequence[int], beside: Sequence[int] = ()) -> Sequence[int]:
        if not suspects or not fails([*beside, *suspects]):
            return []
        if len(suspects) == 1 or replays > MAX_REPLAYS:
            return suspects
        left, right = suspects[: len(suspects) // 2], suspects[len(suspects) // 2 :]
        alone = [*guilty(left, beside), *guilty(right, beside)]
        return alone or guilty(right, [*beside, *left])  # the halves only fail together

    suspects = sorted(set().union(*(operator.groups for operator in failure.near)))
    everyone = list(range(len(draft.units)))
    return list(guilty(suspects) or guilty(everyone)) or everyone
