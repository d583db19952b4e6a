"""Layout algebra: what the indices of a tensor axis mean in terms of channels.

An axis carries a *layout*, a concatenation of segments ``(outer, unit, inner)``. The position of
a channel within a segment is ``(o, u, i)`` in row-major order, with ``u`` running over a *unit
variable*; a segment without a unit is a plain run of fixed length. Some examples, for unit
variables ``a``, ``b`` and ``m``::

    output of a convolution          [(1, a, 1)]
    concatenation of two             [(1, a, 1), (1, b, 1)]
    flattened C x H x W              [(1, a, H * W)]
    input of a grouped convolution   [(g, m, 1)]
    input of pixel_shuffle(r)        [(1, m, r * r)]

Two axes that must agree are *unified*, as terms are in logic programming: a unit variable may be
bound to a layout of other units, and concatenations are split at their common breakpoints. What
cannot be expressed is *pinned* (it keeps its size); what agrees in size but not index by index is
marked *inexact* (it may take any size, but slices of trained weights would be wrong).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import gcd, lcm, prod
from typing import NamedTuple

MAX_REPEATS = 4096
"""A concatenation repeated more often than this is pinned instead of written out."""


@dataclass(frozen=True)
class Reason:
    """Why a unit is pinned or inexact: which operator, in which module, at which source line."""

    why: str
    op: str = ""
    module: str = ""
    line: str = ""

    def __str__(self) -> str:
        where = " ".join(
            text
            for text in (
                self.op and f"at {self.op}",
                self.module and f"in {self.module}",
                self.line and f"({self.line})",
            )
            if text
        )
        return f"{self.why} {where}".rstrip()


Blame = Callable[[str], Reason]
"""Adds the place (operator, module, line) to a short text that says why."""


class Unit:
    """A unit variable: a number of channels that is the same wherever the variable stands."""

    __slots__ = ("binding", "computed", "inexact", "pinned", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.binding: Layout | None = None
        self.pinned: Reason | None = None
        self.inexact: Reason | None = None
        self.computed: Reason | None = None
        """Where a number is computed from the size, which may enter activations."""

    def __repr__(self) -> str:
        return f"Unit({self.size})@{id(self) & 0xFFFF:x}"


class Segment(NamedTuple):
    """``outer * unit.size * inner`` consecutive channels; without a unit, a fixed run."""

    outer: int
    unit: Unit | None
    inner: int

    @property
    def size(self) -> int:
        return self.outer * self.inner * (1 if self.unit is None else self.unit.size)


Layout = tuple[Segment, ...]


def free(size: int) -> Layout:
    """Return the layout of an axis about which nothing is known yet: one fresh unit variable."""
    return (Segment(1, Unit(size), 1),)


def fixed(size: int) -> Layout:
    """Return the layout of an axis whose length never changes (batch, space, kernel)."""
    return (Segment(1, None, size),)


def size_of(layout: Layout) -> int:
    """Return the length of the axis."""
    return sum(segment.size for segment in layout)


def resolve(layout: Layout) -> Layout:
    """Write a layout in terms of free units only, neighbours merged where they continue."""
    merged: list[Segment] = []
    for segment in layout:
        unit = segment.unit
        if unit is None or unit.pinned:
            _append(merged, Segment(1, None, segment.size))
        elif unit.binding is None:
            _append(merged, segment)
        else:
            for part in _substitute(segment, unit):
                _append(merged, part)
    return tuple(merged)


def _append(merged: list[Segment], part: Segment) -> None:
    """Add a resolved segment; it may continue the last one."""
    if merged:
        last = merged[-1]
        if last.unit is part.unit:
            if part.unit is None:
                merged[-1] = Segment(1, None, last.size + part.size)
                return
            if last.inner == part.inner:
                merged[-1] = Segment(last.outer + part.outer, part.unit, part.inner)
                return
    if part.size:
        merged.append(part)


def _substitute(segment: Segment, unit: Unit) -> Sequence[Segment]:
    """Replace a bound unit by what it is bound to, and shorten the way there for the next time."""
    assert unit.binding is not None
    outer, _, inner = segment
    parts = resolve(unit.binding)
    if all(part.unit is not None for part in parts):  # else the reasons of pins would be lost
        unit.binding = parts
    if len(parts) == 1:
        part = parts[0]
        if part.unit is None:
            return (Segment(1, None, segment.size),)
        return (Segment(outer * part.outer, part.unit, part.inner * inner),)
    if inner == 1:
        return parts * outer
    return [Segment(part.outer, part.unit, part.inner * inner) for part in parts] * outer


def units_of(layout: Layout) -> list[Unit]:
    """Return the free units of a layout, each once, in order."""
    return list(dict.fromkeys(part.unit for part in resolve(layout) if part.unit is not None))


def is_fixed(layout: Layout) -> bool:
    """Tell whether the axis cannot change its length."""
    return not units_of(layout)


def reasons_of(layout: Layout) -> list[Reason]:
    """Return why parts of this layout are pinned, each reason once."""
    found: dict[Reason, None] = {}
    stack = list(layout)
    while stack:
        unit = stack.pop().unit
        if unit is None:
            continue
        if unit.pinned:
            found[unit.pinned] = None
        stack.extend(unit.binding or ())
    return list(found)


def pin(layout: Layout, reason: Reason) -> None:
    """Make every free unit of a layout keep its size."""
    for unit in units_of(layout):
        unit.pinned = reason


def mark_inexact(layout: Layout, reason: Reason) -> None:
    """Note that slices of these units do not compute what the whole network computes."""
    for unit in units_of(layout):
        unit.inexact = unit.inexact or reason


def mark_computed(layout: Layout, reason: Reason) -> None:
    """Note that numbers are computed from the sizes of these units."""
    for unit in units_of(layout):
        unit.computed = unit.computed or reason


def bind(unit: Unit, layout: Layout) -> None:
    """Say what a unit is made of."""
    assert unit.binding is None
    assert unit.pinned is None
    assert unit.size == size_of(layout), (unit, layout)
    unit.binding = layout
    if unit.inexact:
        mark_inexact(layout, unit.inexact)
    if unit.computed:
        mark_computed(layout, unit.computed)


def unify(left: Layout, right: Layout, blame: Blame) -> None:
    """Make two axes of equal length agree, index by index where that can be expressed."""
    if size_of(left) != size_of(right):
        raise ValueError(f"axes of length {size_of(left)} and {size_of(right)} cannot agree")

    def cause(why: str) -> Reason:
        known = reasons_of(left) or reasons_of(right)
        return known[0] if known else blame(why)

    if left is right:
        return
    one, two = deque(resolve(left)), deque(resolve(right))
    while one and two and one[0] == two[0]:
        one.popleft(), two.popleft()
    while one and two and one[-1] == two[-1]:
        one.pop(), two.pop()
    if _agree_in_number(one, two):
        return
    while one and two:
        a, b = _pop(one), _pop(two)
        if a.size == b.size:
            if a.unit is None or b.unit is None:
                pin((a, b), cause("meets a fixed axis"))
            else:
                _equate(a, b, blame)
        elif a.size > b.size:
            one.extendleft(reversed(_cut(a, b.size, blame)))
            two.appendleft(b)
        else:
            one.appendleft(a)
            two.extendleft(reversed(_cut(b, a.size, blame)))


def _agree_in_number(left: Iterable[Segment], right: Iterable[Segment]) -> bool:
    """Tell whether two axes are of one length whatever their units' sizes, none of them exact."""

    def counts(layout: Iterable[Segment]) -> Counter[Unit | None]:
        found: Counter[Unit | None] = Counter()
        for outer, unit, inner in layout:
            found[unit] += outer * inner
        return found

    inexact = all(unit is None or unit.inexact for _, unit, _ in (*left, *right))
    return inexact and counts(left) == counts(right)


def _pop(queue: deque[Segment]) -> Segment:
    """Take the first segment, in terms of free units even if it was bound meanwhile."""
    while True:
        segment = queue.popleft()
        parts = resolve((segment,))
        if len(parts) == 1:
            return parts[0]
        queue.extendleft(reversed(parts))


def _cut(segment: Segment, at: int, blame: Blame) -> Layout:
    """Split a segment so that a boundary falls ``at`` channels after its start."""
    outer, unit, inner = segment
    if unit is None:
        return (Segment(1, None, at), Segment(1, None, segment.size - at))
    period = unit.size * inner
    whole, rest = divmod(at, period)
    if rest == 0:
        return (Segment(whole, unit, inner), Segment(outer - whole, unit, inner))
    if rest % inner == 0:
        head, tail = Unit(rest // inner), Unit(unit.size - rest // inner)
        bind(unit, (Segment(1, head, 1), Segment(1, tail, 1)))
        pieces = [Segment(1, head, inner), Segment(1, tail, inner)]
    else:
        pin((segment,), blame("cut between channels that belong together"))
        return (Segment(1, None, at), Segment(1, None, segment.size - at))
    if whole:
        pieces.insert(0, Segment(whole, unit, inner))
    if outer - whole - 1:
        pieces.append(Segment(outer - whole - 1, unit, inner))
    return tuple(pieces)


def _equate(a: Segment, b: Segment, blame: Blame) -> None:
    """Unify two segments of equal length, each with a unit."""
    assert a.unit is not None
    assert b.unit is not None
    if a.unit is b.unit:
        if a.inner != b.inner:
            mark_inexact((a,), blame("meets itself in another order"))
        return
    outer, inner = lcm(a.outer, b.outer), lcm(a.inner, b.inner)
    if a.size % (outer * inner) == 0:
        common = Unit(a.size // (outer * inner))
        bind(a.unit, (Segment(outer // a.outer, common, inner // a.inner),))
        bind(b.unit, (Segment(outer // b.outer, common, inner // b.inner),))
        return
    # Only the sizes can agree: length = factor * common.size on both sides.
    fold_a, fold_b = a.outer * a.inner, b.outer * b.inner
    fold = lcm(fold_a, fold_b)
    common = Unit(a.size // fold)
    common.inexact = blame("channels meet in orders that agree in number only")
    bind(a.unit, (Segment(fold // fold_a, common, 1),))
    bind(b.unit, (Segment(fold // fold_b, common, 1),))


def cut(layout: Layout, sizes: Sequence[int], blame: Blame) -> list[Layout]:
    """Split an axis into consecutive parts of the given lengths, each free of the others."""
    queue = deque(resolve(layout))
    parts: list[Layout] = []
    for size in sizes:
        part: list[Segment] = []
        room = size
        while room:
            segment = _pop(queue)
            if segment.size > room:
                queue.extendleft(reversed(_cut(segment, room, blame)))
                continue
            part.append(segment)
            room -= segment.size
        parts.append(tuple(part))
    return parts


def cut_equal(layout: Layout, count: int, blame: Blame) -> Layout:
    """Split an axis into ``count`` equal parts that stay equal; return the layout of one part."""
    segments = resolve(layout)
    if count == 1:
        return segments
    if is_fixed(segments):
        return fixed(size_of(segments) // count)
    if len(segments) == 1:
        outer, unit, inner = segments[0]
        assert unit is not None
        if outer % count == 0:
            return (Segment(outer // count, unit, inner),)
        if outer == 1 and unit.size % count == 0:
            common = Unit(unit.size // count)
            bind(unit, (Segment(count, common, 1),))
            return (Segment(1, common, inner),)
        if inner % count == 0:
            mark_inexact(segments, blame("cut across channels that belong together"))
            return (Segment(outer, unit, inner // count),)
    parts = cut(segments, [size_of(segments) // count] * count, blame)
    for part in parts[1:]:
        unify(parts[0], part, blame)
    return resolve(parts[0])


def merge(axes: Sequence[Layout], blame: Blame) -> Layout:
    """Return the layout of several neighbouring axes flattened into one, row-major."""
    merged = fixed(1)
    for axis in axes:
        left, right = resolve(merged), resolve(axis)
        if not is_fixed(left) and not is_fixed(right):
            pin(right, blame("flattened together with another free axis"))
            right = resolve(right)
        if is_fixed(right):
            merged = tuple(Segment(o, u, i * size_of(right)) for o, u, i in left)
            continue
        count = size_of(left)
        if len(right) > 1 and count * len(right) > MAX_REPEATS:
            pin(right, blame("a long concatenation is repeated too often"))
            right = resolve(right)
        if len(right) == 1:
            outer, unit, inner = right[0]
            merged = (Segment(count * outer, unit, inner),)
        else:
            merged = right * count
    return resolve(merged)


def unmerge(
    layout: Layout, sizes: Sequence[int], blame: Blame, hints: Sequence[int] | None = None
) -> list[Layout]:
    """Split one axis into several, row-major; one of them varies, the others are fixed.

    Sizes alone do not tell which of the new axes varies (64 channels seen as 4 x 16). The one that
    fits the segments' own structure is taken, then the one with the highest hint (negative: it
    does not vary), then the longest; running the network again at other widths proves or refutes
    the choice.
    """
    segments = resolve(layout)
    if is_fixed(segments) or len(sizes) == 1:
        return [fixed(size) for size in sizes] if len(sizes) != 1 else [segments]

    def preference(axis: int) -> tuple[bool, bool, int, bool, int, int]:
        after = prod(sizes[axis + 1 :])
        hint = hints[axis] if hints else 0
        return (
            hint >= 0,
            all(_fits(part, sizes[axis] * after, after) for part in segments),
            hint,
            after > 1 and all(part.inner % after == 0 for part in segments),
            sizes[axis],
            axis,
        )

    varying = max(range(len(sizes)), key=preference)
    before, after = prod(sizes[:varying]), prod(sizes[varying + 1 :])
    part = divide_inner(cut_equal(segments, before, blame), after, blame)
    return [part if axis == varying else fixed(size) for axis, size in enumerate(sizes)]


def _fits(part: Segment, period: int, inner: int) -> bool:
    """Tell whether a segment falls into whole periods whose ``inner`` last factors are fixed."""
    periods, rest = divmod(part.size, period)
    return not rest and part.outer % periods == 0 and part.inner % inner == 0


def divide_inner(layout: Layout, factor: int, blame: Blame) -> Layout:
    """Return the layout of the slow axis when ``factor`` consecutive channels form the fast one."""
    if factor == 1:
        return layout
    for _, unit, inner in resolve(layout):
        if unit is not None and unit.binding is None and inner % factor:
            missing = factor // gcd(inner, factor)
            if unit.size % missing == 0:
                bind(unit, (Segment(1, Unit(unit.size // missing), missing),))
    segments = resolve(layout)
    if any(part.inner % factor for part in segments):
        pin(segments, blame("channels do not divide into the new axes"))
        return fixed(size_of(segments) // factor)
    return tuple(Segment(outer, unit, inner // factor) for outer, unit, inner in segments)


def reshape(
    axes: Sequence[Layout], shape: Sequence[int], blame: Blame, hints: Sequence[int] | None = None
) -> list[Layout]:
    """Return the layouts after a row-major view of ``axes`` as ``shape``.

    ``hints`` say of each new axis how likely it is to vary where an old one is taken apart.
    """
    sizes = [size_of(axis) for axis in axes]
    if sizes == list(shape):
        return list(axes)
    if 0 in sizes:
        for axis in axes:
            pin(axis, blame("an empty tensor is reshaped"))
        return [fixed(size) for size in shape]
    for axis, size in zip(axes, sizes, strict=True):
        if size == 1:
            pin(axis, blame("a single channel is reshaped"))
    result = [fixed(1) for _ in shape]
    source = [i for i, size in enumerate(sizes) if size != 1]
    target = [i for i, size in enumerate(shape) if size != 1]
    while source:
        taken, given = [source.pop(0)], [target.pop(0)]
        have, want = sizes[taken[0]], shape[given[0]]
        while have != want:
            if have < want:
                taken.append(source.pop(0))
                have *= sizes[taken[-1]]
            else:
                given.append(target.pop(0))
                want *= shape[given[-1]]
        merged = merge([axes[i] for i in taken], blame)
        chosen = [hints[i] for i in given] if hints else None
        parts = unmerge(merged, [shape[i] for i in given], blame, chosen)
        for i, layout in zip(given, parts, strict=True):
            result[i] = layout
    return result
