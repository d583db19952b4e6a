"""TrackingNet's layout: sets of videos, their frames and their boxes in folders of their own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from lwdna.data.sequences.folders import subfolders
from lwdna.data.sequences.layout import Annotated, Read, SequenceLayout, register_layout
from lwdna.data.sequences.sequence import frames_in, known, natural
from lwdna.data.sequences.truth import read_boxes, to_length


@register_layout("trackingnet")
class TrackingNet(SequenceLayout):
    """TrackingNet (Müller et al. 2018), or one of its sets.

    Sequences are called ``<set>/<video>``, so that patterns choose sets (``TRAIN_[0-3]/*``), or
    ``<video>`` where the folder is a set itself. Of the test set, only the first box is known.
    """

    layout = "<set>/frames/<video>/<frame>.jpg and <set>/anno/<video>.txt"

    def detect(self, root: Path) -> bool:
        return any(_is_set(folder) for folder in (root, *subfolders(root)))

    def find(self, root: Path) -> Iterator[tuple[str, Read]]:
        whole = not _is_set(root)
        for part in filter(_is_set, subfolders(root) if whole else [root]):
            for file in natural([path.name for path in (part / "anno").glob("*.txt")]):
                if not file.startswith("."):
                    video = file.removesuffix(".txt")
                    name = f"{part.name}/{video}" if whole else video
                    yield name, partial(_read, part / "anno" / file, part / "frames" / video)


def _is_set(folder: Path) -> bool:
    return (folder / "frames").is_dir() and (folder / "anno").is_dir()


def _read(truth: Path, folder: Path) -> Annotated:
    frames = frames_in(folder)
    boxes = to_length(known(read_boxes(truth)), len(frames))
    return Annotated(boxes, ~np.isnan(boxes[:, 0]), frames)
