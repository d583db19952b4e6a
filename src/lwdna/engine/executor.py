"""Who does the pieces of a work that can be done apart: this process, or workers elsewhere.

Queues (of the cells of a comparison, of the trials of a search) say what is to be done and in which
order; an executor says where. It knows nothing of cells or trials, and a queue nothing of clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Ended:
    """What became of a piece of work."""

    name: Hashable
    """The one it was given."""
    value: Any = None
    """What its function returned."""
    fault: BaseException | None = None
    """What its function raised instead, or why it could not be carried out; ``TrainingInterrupted``
    where a signal ended it, with all saved."""

    def result(self) -> Any:
        """Return the value.

        Raises:
            BaseException: the fault, if there is one.
        """
        if self.fault is not None:
            raise self.fault
        return self.value


class Executor(Protocol):
    """Does pieces of work; each may be done again from its start if a worker is lost meanwhile."""

    elsewhere: bool
    """Whether other processes do the work, so that functions and arguments are pickled."""
    nests: bool
    """Whether a piece of work may hand out pieces itself."""

    @property
    def room(self) -> int:
        """How many pieces may be under way at once."""

    def submit(
        self, name: Hashable, work: Callable[..., Any], *arguments: object, waits: bool = False
    ) -> None:
        """Take a piece of work.

        Args:
            name: different from those of all others under way.
            work: a function of a module, or a ``functools.partial`` of one.
            arguments: its own.
            waits: it mostly waits for pieces that it hands out, and so holds nothing that these
                need.
        """

    def ended(self, seconds: float) -> list[Ended]:
        """Return what has ended; wait up to so many seconds for the first."""


class Here:
    """This process does each piece at once; what one raises is raised where it is submitted."""

    elsewhere = False
    nests = True
    room = 1

    def __init__(self) -> None:
        self._ended: list[Ended] = []

    def submit(
        self, name: Hashable, work: Callable[..., Any], *arguments: object, waits: bool = False
    ) -> None:
        """Do a piece of work."""
        self._ended.append(Ended(name, work(*arguments)))

    def ended(self, seconds: float) -> list[Ended]:
        """Return what was done since the last call."""
        ended, self._ended = self._ended, []
        return ended
