"""Tiny sequences in every layout, whose frames can be told apart by their colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

SIZE = (37, 29)
"""Width and height."""
BOXES = ("1,2,13,11", "2\t3\t13\t11", "3 4 17 7", "4, 5, 17.5, 7.25", "5 6 5 5")
"""Separated in every way there is."""


def colour(number: int) -> tuple[int, int, int]:
    return (10 * number, 200, 30)


def frames(folder: Path, names: Sequence[str]) -> None:
    """Write frames as PNG, which keeps colours, whatever they are called."""
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        Image.new("RGB", SIZE, colour(number)).save(folder / name, format="PNG")


def write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def otb(root: Path, *names: str, lines: Sequence[str] = BOXES) -> Path:
    """Write sequences as any folder of one's own may have them."""
    for name in names:
        frames(root / name / "img", [f"{number + 1:04}.jpg" for number in range(len(BOXES))])
        write(root / name / "groundtruth_rect.txt", lines)
    return root
