"""The command line: one command per verb."""

from lwdna.cli.app import main

__all__ = ["main"]
