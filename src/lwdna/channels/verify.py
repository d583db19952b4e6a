"""Prove a channel graph: run the network again with every group at another width.

Numbers written into a user's ``forward`` cannot be seen while tracing. If the second run fails, or
any operator returns another shape than the graph predicts, the sizes kept in module attributes
near the failing operator are tried; if that does not help, the groups that cannot move are pinned.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from lwdna.channels.freeze import Draft, Step, freeze
from lwdna.channels.graph import Attribute, AxisLayout, ChannelGraph
from lwdna.channels.layout import Reason
from lwdna.channels.record import ModuleStack
from lwdna.channels.resize import reshaped
from lwdna.channels.shapes import run
from lwdna.channels.skeleton import MODULE_SIZES

if TYPE_CHECKING:
    from lwdna.channels.trace import Session

MAX_REPAIRS = 64
"""Candidate attributes tried for one failing operator."""


class _Differs(Exception):
    """The second run left the path of the first."""


class _Replay(TorchDispatchMode):  # type: ignore[misc]
    """Compares operators and their results' shapes with the steps of the first run."""

    def __init__(self, steps: Sequence[Step], graph: ChannelGraph, widths: Mapping[str, int]):
        super().__init__()
        self.steps, self.graph, self.widths = steps, graph, widths
        self.position = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = run(func, args, kwargs or {})
        outputs = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
        leaves = tree_flatten((args, kwargs))[0]
        if not outputs or not any(isinstance(leaf, Tensor) for leaf in leaves):
            return result
        if self.position >= len(self.steps):
            raise _Differs
        step = self.steps[self.position]
        if func._schema.name.partition("::")[2] != step.op or len(outputs) != len(step.outputs):
            raise _Differs
        for output, axes in zip(outputs, step.outputs, strict=True):
            predicted = [self.graph.length(axis, self.widths) for axis in axes]
            if list(output.shape) != predicted:
                raise _Differs
        self.position += 1
        return result


def verified(session: Session) -> ChannelGraph:
    """Return a graph at which every group was seen to move, others pinned with the reason."""
    attributes: list[Attribute] = []
    while True:
        draft = freeze(session, attributes)
        everything = range(len(draft.units))
        failure = _replay(session, draft, everything)
        if failure is None:
            return draft.graph
        repair = _repair(session, draft, failure)
        if repair:
            attributes.extend(repair)
            continue
        step = failure.step
        op, module = (step.op, step.module) if step else ("", failure.module)
        reason = Reason("a size is written into the network's code", op, module)
        for group in _culprits(session, draft, failure):
            draft.units[group].pinned = reason


class _Failure:
    """Where the second run left the path of the first."""

    def __init__(self, mode: bool, position: int, steps: Sequence[Step], module: str) -> None:
        self.mode, self.position, self.module = mode, position, module
        self.step = steps[position] if position < len(steps) else None
        self.near = [*steps[max(0, position - 1) : position + 1]]

    @property
    def progress(self) -> tuple[bool, int]:
        return (self.mode, self.position)


def _replay(session: Session, draft: Draft, moving: Sequence[int]) -> _Failure | None:
    """Run the skeleton with the given groups at other widths; return the first difference."""
    widths = dict(draft.graph.widths)
    for group in moving:
        name = draft.graph.groups[group].name
        widths[name] = _other_width(widths[name], group)
    with session.fake:
        model = reshaped(session.skeleton, draft.graph, widths)
    for mode, steps in draft.steps.items():
        model.train(mode)
        stack = ModuleStack()
        replay = _Replay(steps, draft.graph, widths)
        try:
            with _quiet(), stack.following(model), torch.no_grad(), session.fake, replay:
                model(*session.args, **session.kwargs)
        except Exception:  # whatever the network raises means that these widths do not run
            return _Failure(mode, replay.position, steps, stack.current)
        if replay.position != len(steps):
            return _Failure(mode, replay.position, steps, stack.current)
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep fake tensors from logging operators that fail, which here is an answer, no fault."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _other_width(width: int, group: int) -> int:
    """Return a larger width: sums of several groups cannot cancel, and equal groups come apart."""
    return width + 1 + 5 * group % 11


def _culprits(session: Session, draft: Draft, failure: _Failure) -> list[int]:
    """Return the groups that make the run fail when they alone move."""
    suspects = sorted(set().union(*(step.groups for step in failure.near)))
    for candidates in (suspects, range(len(draft.units))):
        guilty = [g for g in candidates if _replay(session, draft, [g]) is not None]
        if guilty:
            return guilty
    return suspects or list(range(len(draft.units)))


def _repair(session: Session, draft: Draft, failure: _Failure) -> list[Attribute]:
    """Find module attributes that hold old sizes and let the run get further when they follow."""
    everything = range(len(draft.units))
    for count, trial in enumerate(_candidates(session, draft, failure)):
        if count >= MAX_REPAIRS:
            break
        extended = freeze(session, [*draft.graph.attributes, *trial])
        again = _replay(session, extended, everything)
        if again is None or again.progress > failure.progress:
            return trial
    return []


def _candidates(session: Session, draft: Draft, failure: _Failure) -> Iterator[list[Attribute]]:
    """Yield sets of attributes of the failing module and the modules around it."""
    axes = _moving_axes(failure)
    widths = draft.graph.widths
    known = {(a.module, a.name, a.index) for a in draft.graph.attributes}
    path = failure.step.module if failure.step else failure.module
    modules = dict(session.skeleton.named_modules())
    paths = dict.fromkeys([*_ancestors(failure.module), *_ancestors(path)])
    for place in sorted(paths, key=len, reverse=True):
        singles: list[Attribute] = []
        for name, index, value in _integers(modules[place]):
            if (place, name, index) in known:
                continue
            fitting = [axis for axis in axes if draft.graph.length(axis, widths) == value]
            for axis in fitting:
                yield [Attribute(place, name, index, axis)]
            if fitting:
                singles.append(Attribute(place, name, index, fitting[0]))
        if len(singles) > 1:
            yield singles


def _moving_axes(failure: _Failure) -> list[AxisLayout]:
    axes = [
        axis
        for step in reversed(failure.near)
        for many in (*step.inputs, *step.outputs)
        for axis in many
        if any(part.group >= 0 for part in axis)
    ]
    return list(dict.fromkeys(axes))


def _ancestors(path: str) -> list[str]:
    parts = path.split(".") if path else []
    return [".".join(parts[:count]) for count in range(len(parts), -1, -1)]


def _integers(module: Any) -> Iterator[tuple[str, int | None, int]]:
    """Yield integer attributes, and those in sequences, that torch's own layers do not own."""
    for name, value in vars(module).items():
        if name.startswith("_") or name in MODULE_SIZES.get(type(module), ()):
            continue
        if isinstance(value, int) and not isinstance(value, bool) and value > 1:
            yield name, None, value
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                if isinstance(item, int) and not isinstance(item, bool) and item > 1:
                    yield name, index, item
