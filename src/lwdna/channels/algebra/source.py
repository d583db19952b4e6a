"""Where in a user's own code something happens."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

import torch

_LIBRARY_FOLDERS = tuple(
    f"{folder}{os.sep}" for folder in (Path(torch.__file__).parent, Path(__file__).parents[1])
)


def user_line() -> str:
    """Return ``file.py:line`` of the innermost frame outside torch and this package."""
    frame = sys._getframe(1)
    while frame is not None:
        if _is_users(frame):
            return _place(frame, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def line_of(error: BaseException) -> str:
    """Return ``file.py:line`` of the innermost frame outside torch and this package."""
    found, step = "", error.__traceback__
    while step is not None:
        if _is_users(step.tb_frame):
            found = _place(step.tb_frame, step.tb_lineno)
        step = step.tb_next
    return found


def _is_users(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return not name.startswith(_LIBRARY_FOLDERS) and not name.startswith("<")


def _place(frame: FrameType, line: int) -> str:
    return f"{Path(frame.f_code.co_filename).name}:{line}"
