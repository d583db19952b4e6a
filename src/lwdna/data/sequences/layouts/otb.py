"""OTB's layout, that of any folder of one's own: ``<sequence>/img`` and its boxes beside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from lwdna.data.sequences.folders import subfolders
from lwdna.data.sequences.layout import Annotated, Read, SequenceLayout, register_layout
from lwdna.data.sequences.sequence import FileFrames, frames_in, known
from lwdna.data.sequences.truth import read_boxes

_TRUTH = re.compile(r"groundtruth_rect(?:\.(\d+))?\.txt")
_ANNOTATED = {
    "David": (300, 770),
    "Diving": (1, 215),
    "Football1": (1, 74),
    "Freeman3": (1, 460),
    "Freeman4": (1, 283),
}
"""The benchmark has boxes for these frames only, counted from 1 (Wu et al. 2015)."""


@register_layout("otb")
class Otb(SequenceLayout):
    """OTB and any folder of ``<sequence>/img/*.jpg`` with ``groundtruth_rect.txt``.

    ``groundtruth_rect.2.txt`` is a second target in the same frames, called ``<sequence>-2``. The
    folder may be a single sequence. Boxes are taken as they are written.
    """

    layout = "<sequence>/img/<frame>.jpg and <sequence>/groundtruth_rect.txt"

    def detect(self, root: Path) -> bool:
        return any(True for _ in _truths(root))

    def find(self, root: Path) -> Iterator[tuple[str, Read]]:
        for name, truth in _truths(root):
            yield name, partial(_read, truth.parent.name, truth)


def _truths(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the targets by name, and the files of their boxes."""
    folders = [root] if (root / "img").is_dir() else subfolders(root)
    for folder in folders:
        found = [_TRUTH.fullmatch(path.name) for path in folder.glob("groundtruth_rect*.txt")]
        name = folder.resolve().name
        for match in sorted(filter(None, found), key=lambda match: int(match[1] or 0)):
            yield f"{name}-{match[1]}" if match[1] else name, folder / match[0]


def _read(name: str, truth: Path) -> Annotated:
    boxes = known(read_boxes(truth))
    frames = frames_in(truth.parent / "img")
    if name in _ANNOTATED and len(boxes) < len(frames):
        first, last = _ANNOTATED[name]
        frames = FileFrames(frames.folder, frames.names[first - 1 : last])
    return Annotated(boxes, ~np.isnan(boxes[:, 0]), frames)
