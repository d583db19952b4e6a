"""GOT-10k's layout: frames, boxes and labels together in the folder of a sequence."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from lwdna.data.sequences.folders import safe_name, subfolders
from lwdna.data.sequences.layout import Annotated, Read, SequenceLayout, register_layout
from lwdna.data.sequences.sequence import frames_in, known
from lwdna.data.sequences.truth import read_boxes, read_numbers, read_text, to_length
from lwdna.errors import DataError


@register_layout("got10k")
class Got10k(SequenceLayout):
    """A half of GOT-10k (Huang et al. 2019): ``train``, ``val`` or ``test``.

    The sequences are those of ``list.txt`` or, without it, all folders. A target is not visible
    where ``absence.label`` is not 0 or ``cover.label``, eighths that can be seen, is 0; the files
    may be missing. Of the test half, only the first box is known.
    """

    layout = "<sequence>/<frame>.jpg and <sequence>/groundtruth.txt (and list.txt)"

    def detect(self, root: Path) -> bool:
        return any(_is_sequence(folder) for folder in subfolders(root))

    def find(self, root: Path) -> Iterator[tuple[str, Read]]:
        listing = root / "list.txt"
        if listing.is_file():
            names = [name.strip() for name in read_text(listing).splitlines() if name.strip()]
            folders = [root / safe_name(name, listing) for name in names]
        else:
            folders = [folder for folder in subfolders(root) if _is_sequence(folder)]
        for folder in folders:
            yield folder.name, partial(_read, folder, listing)


def _is_sequence(folder: Path) -> bool:
    return (folder / "groundtruth.txt").is_file() and not (folder / "img").is_dir()


def _read(folder: Path, listing: Path) -> Annotated:
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}, which {listing} names; restore it, or exclude the "
            "sequence"
        )
    frames = frames_in(folder)
    boxes = to_length(known(read_boxes(folder / "groundtruth.txt")), len(frames))
    visible = ~np.isnan(boxes[:, 0])
    absence, cover = folder / "absence.label", folder / "cover.label"
    if absence.is_file():
        visible &= read_numbers(absence, len(frames)) == 0
    if cover.is_file():
        visible &= read_numbers(cover, len(frames)) > 0
    return Annotated(boxes, visible, frames)
