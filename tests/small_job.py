"""A job of a queue that is finished once a file says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Small:
    folder: Path
    after: Any = None
    kind = "cell"
    waits = False

    @property
    def title(self) -> str:
        return self.folder.name

    @property
    def finished(self) -> bool:
        return (self.folder / "done").exists()
