"""Operators at which a user says that channels end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from torch import Tensor

from lwdna.channels.algebra.layout import Layout, Unit, fixed, free, is_fixed, size_of, units_of
from lwdna.channels.rules.call import Axes, Call
from lwdna.errors import EditError, nearest

CUT = "cut by hand"


@dataclass
class Cuts:
    """Patterns of operators, ``"module"`` or ``"module:op"``, and what was cut while tracing."""

    patterns: Sequence[str] = ()
    axes: list[Layout] = field(default_factory=list)
    """Axes that end or begin at a cut."""
    _used: set[str] = field(default_factory=set)
    _places: dict[str, None] = field(default_factory=dict)

    def results(self, call: Call, rule: Callable[[Call], list[Axes]]) -> list[Axes] | None:
        """Return the axes of a cut operator's results; None where nothing is cut.

        The results are channels of their own: an axis is free where ``rule`` would give one that
        varies with the inputs. Units on neither side can be matched with those of the other, so
        only widths stay free. Operators with MACs keep their rule, as their cost follows widths.
        """
        if not self.patterns:
            return None
        moving = [a for tensor in call.tensors for a in call.axes(tensor) if not is_fixed(a)]
        if not moving:
            return None
        self._places[f"{call.module}:{call.op}"] = None
        matching = [p for p in self.patterns if _matches(p, call.module, call.op)]
        if not matching:
            return None
        alone = replace(call, lookup=_apart(call), asked=(), terms=[], produced=[])
        results = [tuple(_fresh(axis) for axis in axes) for axes in rule(alone)]
        if alone.terms:
            return None
        self._used.update(matching)
        touching = [*moving, *(a for axes in results for a in axes if not is_fixed(a))]
        for axis in touching:
            call.mark_inexact(axis, CUT)
        self.axes += touching
        return results

    def units(self) -> Iterator[Unit]:
        """Yield the free units on either side of a cut, each once."""
        yield from dict.fromkeys(unit for axis in self.axes for unit in units_of(axis))

    def check(self) -> None:
        """Raise EditError for a pattern that cut nothing."""
        for pattern in self.patterns:
            if pattern in self._used:
                continue
            module, _, _ = pattern.partition(":")
            own = [place for place in self._places if fnmatchcase(place.partition(":")[0], module)]
            hint = (
                f"; channels flow through {', '.join(own[:6])}"
                if own
                else nearest(pattern, dict.fromkeys([*self._places, *_modules(self._places)]))
            )
            raise EditError(
                f"cut {pattern!r} names no operator that can be cut{hint}; give module:op of one "
                "that channels flow through and that has no multiply-accumulates"
            )


def _matches(pattern: str, module: str, op: str) -> bool:
    where, colon, what = pattern.partition(":")
    return fnmatchcase(module, where) and (not colon or fnmatchcase(op, what))


def _modules(places: Sequence[str] | dict[str, None]) -> Iterator[str]:
    return (place.partition(":")[0] for place in places)


def _apart(call: Call) -> Callable[[Tensor], Axes]:
    """Return a lookup of copies: what a rule does to them leaves the network's own alone."""
    known: dict[int, Axes] = {}

    def lookup(tensor: Tensor) -> Axes:
        if id(tensor) not in known:
            known[id(tensor)] = tuple(_fresh(axis) for axis in call.axes(tensor))
        return known[id(tensor)]

    return lookup


def _fresh(axis: Layout) -> Layout:
    return fixed(size_of(axis)) if is_fixed(axis) else free(size_of(axis))
