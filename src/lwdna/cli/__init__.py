"""The command line: one command per verb."""

import lwdna.cli.compare  # noqa: F401 (registers its command)
from lwdna.cli.app import main

__all__ = ["main"]
