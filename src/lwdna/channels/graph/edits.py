"""What a user decides about the channel graph by hand, as data."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import field_validator

from lwdna.settings import Settings


class Edits(Settings):
    """Decisions by hand: groups that keep their width, go together, or end at an operator.

    Given to :func:`lwdna.trace`, which proves them by the second run like everything else; the
    graph and the architecture file carry them. All names are shell patterns (``"layer1.*"``). A
    group answers to its own name and to every module whose result carries its channels.
    """

    pin: tuple[str, ...] = ()
    """Groups that keep their width."""
    tie: tuple[tuple[str, ...], ...] = ()
    """Sets of groups that keep the same units. Widths may differ by a whole factor k; then k
    neighbouring units of the wide group go with one unit of the narrow one."""
    cut: tuple[str, ...] = ()
    """Operators at which channels end, ``"module"`` or ``"module:op"`` (``":op"`` in the network
    itself): what flows in is not coupled with what flows out."""

    @field_validator("pin", "cut", "tie", mode="before")
    @classmethod
    def _no_single_text(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(f"give a list of patterns, not one text: [{value!r}]")
        return value

    def __bool__(self) -> bool:
        return bool(self.pin or self.tie or self.cut)

    def lines(self) -> Iterator[str]:
        """Yield each edit as a line of text."""
        yield from (f"pin {pattern}" for pattern in self.pin)
        yield from (f"tie {' = '.join(patterns)}" for patterns in self.tie)
        yield from (f"cut {pattern}" for pattern in self.cut)
