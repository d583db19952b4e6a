"""Find sizes that a network keeps in attributes of its modules and that must follow its widths.

A convolution knows its ``in_channels``; a block may know the ``splits`` of its channels, or the
``width`` of a branch. Such numbers show when the network runs at other widths and fails nearby: an
attribute that equals an old length belongs to that axis if the run gets further once it follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

from torch import nn

from lwdna.channels.copies.skeleton import MODULE_SIZES
from lwdna.channels.graph.graph import Attribute, AxisLayout
from lwdna.channels.proof.freeze import Draft, Step

MAX_TRIALS = 32
"""Candidates tried for one failing operator."""


class Failure:
    """Where the second run left the path of the first."""

    def __init__(
        self, mode: bool, position: int, steps: list[Step], module: str, line: str = ""
    ) -> None:
        self.mode, self.position, self.module, self.line = mode, position, module, line
        self.step = steps[position] if position < len(steps) else None
        self.near = steps[max(0, position - 1) : position + 1]

    @property
    def progress(self) -> tuple[bool, int]:
        return (self.mode, self.position)

    @property
    def places(self) -> list[str]:
        """The modules at work, innermost first."""
        path = self.step.module if self.step else self.module
        found = dict.fromkeys([*_ancestors(self.module), *_ancestors(path)])
        return sorted(found, key=len, reverse=True)


class Slot(NamedTuple):
    """Where in a module's forward an axis was seen: so it can be found in modules alike."""

    path: str
    position: int
    result: bool
    tensor: int
    axis: int


Replay = Callable[[Draft], Failure | None]


@dataclass
class Repairs:
    """Tries attributes; remembers which kinds helped, and which failures nothing helps."""

    modules: dict[str, nn.Module]
    replay: Replay
    helped: set[tuple[type, str]] = field(default_factory=set)
    hopeless: set[tuple[type, str]] = field(default_factory=set)

    def attempt(self, draft: Draft, failure: Failure) -> tuple[Draft, Failure | None] | None:
        """Return a draft that gets further, and where that one fails; None if there is none."""
        step = failure.step
        key = (type(self.modules[failure.places[0]]), step.op if step else "")
        if key in self.hopeless:
            return None
        for trial in islice(self._ordered(draft, failure), MAX_TRIALS):
            better = _extended(draft, trial)
            again = self.replay(better)
            if again is not None and again.progress <= failure.progress:
                continue
            self.helped |= {(type(self.modules[a.module]), a.name) for a in trial}
            return self._likewise(better, again, trial, failure)
        self.hopeless.add(key)
        return None

    def _likewise(
        self, draft: Draft, failure: Failure | None, trial: list[Attribute], before: Failure
    ) -> tuple[Draft, Failure | None]:
        """Let the same attributes of all modules of the same class follow, if that helps."""
        if failure is None:
            return draft, None
        more = list(_analogues(self.modules, draft, trial, before))
        if more:
            further = _extended(draft, more)
            again = self.replay(further)
            if again is None or again.progress > failure.progress:
                return further, again
        return draft, failure

    def _ordered(self, draft: Draft, failure: Failure) -> list[list[Attribute]]:
        """Return the candidates, kinds that helped before first."""

        def known(trial: list[Attribute]) -> bool:
            return all((type(self.modules[a.module]), a.name) in self.helped for a in trial)

        candidates = _candidates(self.modules, draft, failure)
        return sorted(candidates, key=known, reverse=True)


def _extended(draft: Draft, attributes: Iterable[Attribute]) -> Draft:
    """Return the draft with more attributes; a newer axis of the same attribute wins."""
    merged = {(a.module, a.name, a.index): a for a in (*draft.graph.attributes, *attributes)}
    return replace(draft, graph=replace(draft.graph, attributes=tuple(merged.values())))


def _candidates(
    modules: dict[str, nn.Module], draft: Draft, failure: Failure
) -> Iterator[list[Attribute]]:
    """Yield sets of attributes of the failing module and the modules around it."""
    axes = _moving_axes(failure)
    widths = draft.graph.widths
    known = set(draft.graph.attributes)
    for place in failure.places:
        values = list(_integers(modules[place]))
        yield from _sequences(place, values, draft, failure)
        together: list[Attribute] = []
        for name, index, value in values:
            fitting = [
                attribute
                for attribute in (
                    Attribute(place, name, index, axis)
                    for axis in axes
                    if draft.graph.length(axis, widths) == value
                )
                if attribute not in known
            ]
            yield from ([attribute] for attribute in fitting)
            together += fitting[:1]
        if len(together) > 1:
            yield together


def _sequences(
    place: str, values: list[tuple[str, int | None, int]], draft: Draft, failure: Failure
) -> Iterator[list[Attribute]]:
    """Yield sequences whose items are, in order, the lengths of an operator's results."""
    widths = draft.graph.widths
    sequences: dict[str, list[int]] = {}
    for name, index, value in values:
        if index is not None:
            sequences.setdefault(name, []).append(value)
    for step in reversed(failure.near):
        rank = min((len(axes) for axes in step.outputs), default=0)
        for axis in range(rank):
            layouts = [axes[axis] for axes in step.outputs]
            lengths = [draft.graph.length(layout, widths) for layout in layouts]
            for name, items in sequences.items():
                if items == lengths and any(p.group >= 0 for layout in layouts for p in layout):
                    yield [Attribute(place, name, i, axes) for i, axes in enumerate(layouts)]


def _moving_axes(failure: Failure) -> list[AxisLayout]:
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


def _analogues(
    modules: dict[str, nn.Module], draft: Draft, trial: list[Attribute], failure: Failure
) -> Iterator[Attribute]:
    """Yield, for modules of the same class, the attributes seen at the same place in forward."""
    by_module: dict[str, list[Step]] = {}
    for step in draft.steps[failure.mode]:
        by_module.setdefault(step.module, []).append(step)
    widths = draft.graph.widths
    known = {(a.module, a.name, a.index) for a in draft.graph.attributes}
    for attribute in trial:
        source = modules[attribute.module]
        slots = [
            slot
            for step in reversed(failure.near)
            for slot in _slots(attribute, step, by_module.get(step.module, []))
        ]
        for path, module in modules.items():
            if type(module) is not type(source) or (path, attribute.name, attribute.index) in known:
                continue
            for axis in filter(None, (_axis_at(by_module, path, slot) for slot in slots)):
                if draft.graph.length(axis, widths) == _value(module, attribute):
                    yield replace(attribute, module=path, axis=axis)
                    break


def _slots(attribute: Attribute, step: Step, steps: list[Step]) -> Iterator[Slot]:
    prefix = attribute.module + "." if attribute.module else ""
    if step.module != attribute.module and not step.module.startswith(prefix):
        return
    position = next(i for i, other in enumerate(steps) if other is step)
    for result, many in ((False, step.inputs), (True, step.outputs)):
        for tensor, axes in enumerate(many):
            for axis, layout in enumerate(axes):
                if layout == attribute.axis:
                    yield Slot(step.module[len(attribute.module) :], position, result, tensor, axis)


def _axis_at(by_module: dict[str, list[Step]], path: str, slot: Slot) -> AxisLayout | None:
    steps = by_module.get(path + slot.path, [])
    if slot.position >= len(steps):
        return None
    many = steps[slot.position].outputs if slot.result else steps[slot.position].inputs
    if slot.tensor >= len(many) or slot.axis >= len(many[slot.tensor]):
        return None
    axis = many[slot.tensor][slot.axis]
    return axis if any(part.group >= 0 for part in axis) else None


def _value(module: nn.Module, attribute: Attribute) -> Any:
    value = getattr(module, attribute.name, None)
    if attribute.index is None:
        return value
    return (
        value[attribute.index]
        if isinstance(value, list | tuple) and len(value) > attribute.index
        else None
    )
