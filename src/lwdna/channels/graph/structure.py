"""What a channel graph consists of, as data: groups, axes of tensors, operators, pins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import index
from typing import NamedTuple, Self

from lwdna.channels.algebra.layout import Reason
from lwdna.channels.graph.axes import AxisLayout
from lwdna.channels.graph.cost import Activation
from lwdna.channels.graph.edits import Edits
from lwdna.channels.graph.operators import Operator
from lwdna.errors import GraphError, nearest

MOST_CHANNELS = 2**24
"""Of one group: more is a mistake, and costs could no longer be counted."""


class Member(NamedTuple):
    """An axis of a parameter or buffer whose length depends on a group."""

    tensor: str
    axis: int


@dataclass(frozen=True)
class Group:
    """Channels that can only be removed together; ``width`` counts how many such units there are.

    ``inexact`` is None where removing units from trained weights is exact, else the reason why only
    the number of units is free.
    """

    name: str
    width: int
    members: tuple[Member, ...]
    inexact: Reason | None = None
    feeds_output: bool = False

    @property
    def exact(self) -> bool:
        """Whether a slice computes what the network with silenced channels computes."""
        return self.inexact is None


@dataclass(frozen=True)
class Pinned:
    """An axis of a parameter that keeps its length, or part of it, and why."""

    tensor: str
    axis: int
    size: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Cache:
    """An attribute of a module that holds tensors only after the network's first run."""

    module: str
    name: str
    exists: bool
    """Whether it is there before, empty or None."""


@dataclass(frozen=True)
class Attribute:
    """An integer (or one of a sequence of integers) of a module that follows an axis' length."""

    module: str
    name: str
    index: int | None
    axis: AxisLayout


class Metadata(NamedTuple):
    """A size that a module keeps for its users: attribute, then keys and indices inside it."""

    module: str
    path: tuple[str | int, ...]
    axis: AxisLayout


@dataclass(frozen=True)
class Structure:
    """What tracing has found; :class:`~lwdna.channels.graph.graph.ChannelGraph` answers with it."""

    groups: tuple[Group, ...]
    tensors: Mapping[str, tuple[AxisLayout, ...]]
    """Layouts of every parameter and buffer, by name."""
    parameters: tuple[str, ...]
    operators: tuple[Operator, ...]
    """All operators of a forward pass in evaluation mode, in order."""
    activations: tuple[Activation, ...] = ()
    pinned: tuple[Pinned, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    unknown_ops: tuple[str, ...] = ()
    metadata: tuple[Metadata, ...] = ()
    edits: Edits = field(default_factory=Edits)
    """What was decided by hand."""
    remade: tuple[str, ...] = ()
    """Buffers that the network makes anew while it runs, of whatever shape."""
    caches: tuple[Cache, ...] = field(default=(), compare=False)
    """Attributes that the network fills with tensors when it runs for the first time."""

    @property
    def widths(self) -> dict[str, int]:
        """Width of every group, in the network as traced."""
        return {group.name: group.width for group in self.groups}

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of every group by name."""
        return {group.name: position for position, group in enumerate(self.groups)}

    def complete(self, widths: Mapping[str, int] | None) -> dict[str, int]:
        """Check widths by group name and fill in the traced width of groups not named.

        Raises:
            GraphError: an unknown group, or a width that is no whole number, below one or too
                large.
        """
        full = self.widths
        if widths is None:
            return full
        if not isinstance(widths, Mapping):
            raise GraphError(
                f"widths must be given by group name, got {type(widths).__name__}; pass a dict"
            )
        for name, width in widths.items():
            if name not in full:
                raise GraphError(f"there is no group {name!r}{nearest(str(name), full)}")
            try:
                number = index(width)
            except TypeError as error:
                raise GraphError(
                    f"the width of group {name!r} must be a whole number, got {width!r:.80}"
                ) from error
            if not 1 <= number <= MOST_CHANNELS:
                raise GraphError(
                    f"group {name!r} cannot have width {width}; the least is 1 and the most "
                    f"{MOST_CHANNELS}"
                )
            full[name] = number
        return full

    def in_order(self, widths: Mapping[str, int]) -> list[int]:
        """Return (complete) widths by name in the order of the groups, as layouts take them."""
        return [widths[group.name] for group in self.groups]

    def at(self, widths: Mapping[str, int]) -> Self:
        """Return the graph of the same network at other widths."""
        full = self.complete(widths)
        groups = tuple(replace(group, width=full[group.name]) for group in self.groups)
        return replace(self, groups=groups)

    def length(self, axis: AxisLayout, widths: Mapping[str, int]) -> int:
        """Return the length of an axis at the given (complete) widths."""
        return axis.length({group: widths[self.groups[group].name] for group in axis.groups})

    def shape(self, tensor: str, widths: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape of a parameter or buffer at the given (complete) widths."""
        return tuple(self.length(axis, widths) for axis in self.tensors[tensor])
