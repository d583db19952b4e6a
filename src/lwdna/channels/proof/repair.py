"""Find sizes that a network keeps in attributes of its modules and that must follow its widths.

A convolution knows its ``in_channels``; a block may know the ``splits`` of its channels, or the
``width`` of a branch. Such numbers show when the network runs at other widths and fails nearby: an
attribute that equals an old length belongs to that axis if the run gets further once it follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

from torch import nn

from lwdna.channels.copies.skeleton import LAYER_SIZES
from lwdna.channels.graph.axes import AxisLayout
from lwdna.channels.graph.operators import Operator
from lwdna.channels.graph.structure import Attribute
from lwdna.channels.proof.freeze import Draft

MAX_TRIALS = 32
"""Candidates tried for one failing operator."""


class Failure:
    """Where the second run left the path of the first."""

    def __init__(
        self,
        mode: bool,
        position: int,
        operators: Sequence[Operator],
        module: str,
        line: str = "",
        narrow: int | None = None,
    ) -> None:
        self.mode, self.position, self.module, self.line = mode, position, module, line
        self.narrow = narrow
        """Which of every two groups was narrower in that run; None where all were wider."""
        self.operator = operators[position] if 0 <= position < len(operators) else None
        self.near = operators[max(0, position - 1) : position + 1]

    @property
    def progress(self) -> tuple[bool, int]:
        return (self.mode, self.position)

    @property
    def places(self) -> list[str]:
        """The modules at work, innermost first."""
        path = self.operator.module if self.operator else self.module
        found = dict.fromkeys([*_ancestors(self.module), *_ancestors(path)])
        return sorted(found, key=len, reverse=True)


class Sighting(NamedTuple):
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
        operator = failure.operator
        innermost = next(place for place in failure.places if place in self.modules)
        key = (type(self.modules[innermost]), operator.op if operator else "")
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
    for place in filter(modules.__contains__, failure.places):
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
    for operator in reversed(failure.near):
        rank = min((len(axes) for axes in operator.outputs), default=0)
        for axis in range(rank):
            layouts = [axes[axis] for axes in operator.outputs]
            lengths = [draft.graph.length(layout, widths) for layout in layouts]
            for name, items in sequences.items():
                if items == lengths and not all(layout.is_fixed for layout in layouts):
                    yield [Attribute(place, name, i, axes) for i, axes in enumerate(layouts)]


def _moving_axes(failure: Failure) -> list[AxisLayout]:
    axes = [
        axis
        for operator in reversed(failure.near)
        for many in (*operator.input_axes, *operator.outputs)
        for axis in many
        if not axis.is_fixed
    ]
    return list(dict.fromkeys(axes))


def _ancestors(path: str) -> list[str]:
    parts = path.split(".") if path else []
    return [".".join(parts[:count]) for count in range(len(parts), -1, -1)]


def _integers(module: Any) -> Iterator[tuple[str, int | None, int]]:
    """Yield integer attributes, and those in sequences, that torch's own layers do not own."""
    for name, value in vars(module).items():
        if name.startswith("_") or name in LAYER_SIZES.get(type(module), ()):
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
    by_module: dict[str, list[Operator]] = {}
    for operator in draft.operators[failure.mode]:
        by_module.setdefault(operator.module, []).append(operator)
    widths = draft.graph.widths
    known = {(a.module, a.name, a.index) for a in draft.graph.attributes}
    for attribute in trial:
        source = modules[attribute.module]
        sightings = [
            sighting
            for operator in reversed(failure.near)
            for sighting in _sightings(attribute, operator, by_module.get(operator.module, []))
        ]
        for path, module in modules.items():
            if type(module) is not type(source) or (path, attribute.name, attribute.index) in known:
                continue
            for axis in filter(None, (_axis_at(by_module, path, where) for where in sightings)):
                if draft.graph.length(axis, widths) == _value(module, attribute):
                    yield replace(attribute, module=path, axis=axis)
                    break


def _sightings(
    attribute: Attribute, operator: Operator, operators: Sequence[Operator]
) -> Iterator[Sighting]:
    """Yield where an operator shows the axis that an attribute follows."""
    prefix = attribute.module + "." if attribute.module else ""
    if operator.module != attribute.module and not operator.module.startswith(prefix):
        return
    path = operator.module[len(attribute.module) :]
    position = next(i for i, other in enumerate(operators) if other is operator)
    for result, many in ((False, operator.input_axes), (True, operator.outputs)):
        for tensor, axes in enumerate(many):
            for axis, layout in enumerate(axes):
                if layout == attribute.axis:
                    yield Sighting(path, position, result, tensor, axis)


def _axis_at(by_module: dict[str, list[Operator]], path: str, where: Sighting) -> AxisLayout | None:
    operators = by_module.get(path + where.path, [])
    if where.position >= len(operators):
        return None
    operator = operators[where.position]
    many = operator.outputs if where.result else operator.input_axes
    if where.tensor >= len(many) or where.axis >= len(many[where.tensor]):
        return None
    axis = many[where.tensor][where.axis]
    return None if axis.is_fixed else axis


def _value(module: nn.Module, attribute: Attribute) -> Any:
    value = getattr(module, attribute.name, None)
    if attribute.index is None:
        return value
    return (
        value[attribute.index]
        if isinstance(value, list | tuple) and len(value) > attribute.index
        else None
    )
