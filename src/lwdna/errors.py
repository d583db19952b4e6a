"""One family of errors: each says what was given, what is allowed and what to do.

The command line prints the message of an :class:`LwdnaError` as one line and exits with a
non-zero status; every other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LwdnaError(Exception):
    """Base of every error a user can cause and mend."""


class ModelError(LwdnaError):
    """A network that does not exist or cannot be built."""


class GraphError(LwdnaError):
    """A channel graph that cannot be traced, or widths that do not fit it."""


class EditError(GraphError):
    """A decision by hand about the channel graph that names nothing or cannot hold."""


class InputError(LwdnaError, ValueError):
    """Inputs of a network, or their sizes, of a form that nothing can be made of.

    A ValueError too, so that a file with such sizes is refused like one with any other fault.
    """


class BudgetError(LwdnaError):
    """A budget that no widths can meet."""


class ArchitectureError(LwdnaError):
    """An architecture file that cannot be read or does not fit its network."""


class CheckpointError(LwdnaError):
    """Weights or checkpoints that are missing, damaged or of another network."""


class DataError(LwdnaError):
    """A data set that is missing, empty or damaged."""


class RecipeError(LwdnaError):
    """A recipe with unknown keys or values out of range."""


class TrainingError(LwdnaError):
    """Training that cannot go on (a loss that is not finite, for example)."""


class FileError(LwdnaError):
    """A file that cannot be read or written (disk full, no permission)."""


class LockedError(FileError):
    """A folder that another process is writing."""


class HubError(LwdnaError):
    """The Hugging Face hub does not have what is asked for, or does not take what is given."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return ``"; did you mean a, b?"`` for the known names nearest to ``name``, or ``""``."""
    close = difflib.get_close_matches(name, list(known), n=count, cutoff=0.5)
    return f"; did you mean {', '.join(close)}?" if close else ""
