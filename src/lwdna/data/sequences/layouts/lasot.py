"""LaSOT's layout: ``<class>/<class>-<number>`` with frames, boxes and two files of flags."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from lwdna.data.sequences.folders import subfolders
from lwdna.data.sequences.layout import Annotated, Read, SequenceLayout, register_layout
from lwdna.data.sequences.sequence import frames_in, known
from lwdna.data.sequences.truth import read_boxes, read_numbers

_ABSENT = ("full_occlusion.txt", "out_of_view.txt")
"""1 where the target cannot be seen."""


@register_layout("lasot")
class Lasot(SequenceLayout):
    """LaSOT (Fan et al. 2019), with folders of classes or without, or one of its sequences.

    A target that is wholly covered or out of view is not visible, whatever its box; where these
    two files are missing, it is visible wherever it has a box.
    """

    layout = "<class>/<class>-<number>/img/<frame>.jpg and groundtruth.txt beside img"

    def detect(self, root: Path) -> bool:
        return any(True for _ in _folders(root))

    def find(self, root: Path) -> Iterator[tuple[str, Read]]:
        for folder in _folders(root):
            yield folder.resolve().name, partial(_read, folder)


def _folders(root: Path) -> Iterator[Path]:
    if _is_sequence(root):
        yield root
        return
    for folder in subfolders(root):
        single = (folder / "groundtruth.txt").is_file()
        yield from filter(_is_sequence, [folder] if single else subfolders(folder))


def _is_sequence(folder: Path) -> bool:
    return (folder / "groundtruth.txt").is_file() and (folder / "img").is_dir()


def _read(folder: Path) -> Annotated:
    boxes = known(read_boxes(folder / "groundtruth.txt"))
    visible = ~np.isnan(boxes[:, 0])
    for name in _ABSENT:
        if (folder / name).is_file():
            visible &= read_numbers(folder / name, len(boxes)) == 0
    return Annotated(boxes, visible, frames_in(folder / "img"))
