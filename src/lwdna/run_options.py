"""How a run is carried out, which changes nothing of its results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


def _silent(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class RunOptions:
    """What whoever starts a run decides about it, beside the recipe."""

    progress: bool = False
    """Show progress bars on standard error."""
    trust_code: bool = False
    """Allow a network whose source imports Python code."""
    say: Callable[[str], None] = _silent
    """Told in a line of text what is being done."""
    jobs: int = 1
    """Processes of this machine that share trials of a search, or the cells of a comparison."""

    def trusting(self, code: bool) -> RunOptions:
        """Return options that allow Python code if these do, or if ``code`` says so."""
        return replace(self, trust_code=self.trust_code or code)

    def of_helper(self) -> RunOptions:
        """Return what these options are for a process that helps: silent, and by itself."""
        return RunOptions(trust_code=self.trust_code)
