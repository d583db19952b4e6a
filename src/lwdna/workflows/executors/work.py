"""What a worker of a cluster does with a piece of work that it is given."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lwdna.engine.signals import TrainingInterrupted
from lwdna.errors import DataError, FileError, LockedError, LwdnaError

TRIES = 3
"""How often a piece is tried that fails on a file, on different machines if there are any."""


_OF_DISKS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE}


@dataclass(frozen=True)
class Piece:
    """A piece of work as a worker gets it: names of functions, recipes and paths, but no data."""

    folder: Path
    """The working directory of who hands it out, to which paths are relative."""
    gpu: bool
    work: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __call__(self) -> tuple[Any, BaseException | None]:
        """Do it; return its value and its fault, of which one is None.

        On a CPU it computes on one thread, so that its result depends on neither the worker's
        number of cores nor on what else runs there.
        """
        if not self.gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # torch looks when it first needs a device
            torch.set_num_threads(1)
        try:
            os.chdir(self.folder)
        except OSError as error:
            why = error.strerror or error
            return None, FileError(f"a worker cannot enter {self.folder}: {why}")
        try:
            return self.work(*self.arguments), None
        except (LwdnaError, TrainingInterrupted) as fault:
            return None, fault
        except OSError as error:
            if error.errno not in _OF_DISKS:
                raise
            return None, FileError(f"cannot use {error.filename}: {error.strerror}")


def of_the_machine(fault: BaseException | None) -> bool:
    """Whether another machine may have better luck: a full disk, a file that is not there."""
    return isinstance(fault, FileError | DataError) and not isinstance(fault, LockedError)
