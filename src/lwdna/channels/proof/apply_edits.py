"""Carry out what a user decided by hand on a proven graph, and see that it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from lwdna.channels.algebra.layout import Reason, Segment, pin, unify, units_of
from lwdna.channels.graph.edits import Edits
from lwdna.channels.graph.graph import ChannelGraph
from lwdna.channels.proof import verify
from lwdna.channels.proof.freeze import Draft
from lwdna.channels.tracing.session import Session
from lwdna.errors import EditError, nearest

PINNED = "pinned by hand"


def tied_and_pinned(session: Session, draft: Draft, edits: Edits) -> Draft:
    """Tie and pin groups of a proven draft; return the draft proven again.

    Raises:
        EditError: a pattern that matches nothing, groups that cannot be tied, or edits after
            which the network does not run.
    """
    known = _Names(session, draft)
    sets = [_tied(draft, known, patterns) for patterns in edits.tie]
    pinned = {group: text for text in edits.pin for group in known.find("pin", text)}
    session.names = dict(zip(draft.units, draft.graph.widths, strict=True))
    for groups in _merged(sets):
        _tie(session, draft, sorted(groups))
    for group, text in pinned.items():
        pin((Segment(1, draft.units[group], 1),), Reason(f"{PINNED} ({text})"))
    after = verify.verified(session, verify.followers(draft))
    check_nothing_lost(draft.graph, after.graph, edits)
    return after


def check_nothing_lost(before: ChannelGraph, after: ChannelGraph, edits: Edits) -> None:
    """Raise EditError if an axis that was free is fixed now, other than by hand."""
    reasons = {(pinned.tensor, pinned.axis): pinned.reasons for pinned in after.pinned}
    for tensor, axis in sorted(_moving(before) - _moving(after)):
        others = [r for r in reasons.get((tensor, axis), ()) if not r.why.startswith(PINNED)]
        if others:
            raise EditError(
                f"the network does not run with these edits ({'; '.join(edits.lines())}): "
                f"{tensor} axis {axis} could no longer change its length: {others[0]}; channels "
                "that meet there have to stay together"
            )


def prove_cuts(session: Session, draft: Draft) -> Draft:
    """Move every group beside a cut alone, as the cut says they can; pin those that cannot."""
    while True:
        index = {unit: group for group, unit in enumerate(draft.units)}
        beside = [index[unit] for unit in session.cuts.units() if unit in index]
        failures = {group: verify.replay(session, draft, [group]) for group in beside}
        stuck = {group: failure for group, failure in failures.items() if failure is not None}
        if not stuck:
            return draft
        for group, failure in stuck.items():
            draft.units[group].pinned = verify.reason(failure)
        draft = verify.verified(session, verify.followers(draft))


class _Names:
    """The names that groups answer to: their own, and modules whose results carry them."""

    def __init__(self, session: Session, draft: Draft) -> None:
        self.own = draft.graph.index
        index = {unit: group for group, unit in enumerate(draft.units)}
        self.by_module: dict[str, set[int]] = {}
        for module, results in session.results.items():
            units = {unit for axes in results for axis in axes for unit in units_of(axis)}
            self.by_module[module] = {index[unit] for unit in units if unit in index}

    def find(self, verb: str, pattern: str) -> list[int]:
        """Return the groups that a pattern names; a group's full name means that one alone."""
        if pattern in self.own:
            return [self.own[pattern]]
        modules = [name for name in self.by_module if fnmatchcase(name, pattern)]
        groups = {group for name in modules for group in self.by_module[name]}
        groups |= {group for name, group in self.own.items() if fnmatchcase(name, pattern)}
        if not modules and not groups:
            known = dict.fromkeys([*self.own, *self.by_module])
            inside = any(name.startswith(f"{pattern}.") for name in known)
            hint = f"; did you mean {pattern}.*?" if inside else nearest(pattern, known)
            raise EditError(
                f"{verb} {pattern!r} matches no group and no module that runs{hint}; see "
                "graph.report() or `lwdna inspect` for names"
            )
        return sorted(groups)


def _tied(draft: Draft, known: _Names, patterns: Sequence[str]) -> set[int]:
    found = {group for pattern in patterns for group in known.find("tie", pattern)}
    groups = [draft.graph.groups[group] for group in sorted(found)]
    text = " = ".join(patterns)
    if len(groups) < 2:
        have = f"only {groups[0].name!r}" if groups else "none"
        raise EditError(f"tie {text} needs at least two groups that are free, it names {have}")
    return found


def _merged(sets: Iterable[set[int]]) -> list[set[int]]:
    """Join sets that have a group in common."""
    merged: list[set[int]] = []
    for groups in sets:
        apart = [other for other in merged if not other & groups]
        merged = [*apart, groups.union(*(other for other in merged if other & groups))]
    return merged


def _tie(session: Session, draft: Draft, indices: Sequence[int]) -> None:
    groups = [draft.graph.groups[index] for index in indices]
    least = min(groups, key=lambda group: group.width)
    for group in groups:
        if group.width % least.width:
            raise EditError(
                f"tie: {group.name!r} has {group.width} units, no multiple of the {least.width} "
                f"of {least.name!r}; widths must be equal or differ by a whole factor"
            )
    narrow = draft.units[draft.graph.index[least.name]]
    for group, index in zip(groups, indices, strict=True):
        one = (Segment(1, narrow, group.width // least.width),)
        unify(one, (Segment(1, draft.units[index], 1),), lambda why: Reason(f"tied by hand: {why}"))
    (common,) = units_of((Segment(1, narrow, 1),))
    session.names[common] = groups[0].name


def _moving(graph: ChannelGraph) -> set[tuple[str, int]]:
    return {
        (tensor, axis)
        for tensor, axes in graph.tensors.items()
        for axis, layout in enumerate(axes)
        if not layout.is_fixed
    }
