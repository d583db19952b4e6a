"""Videos with the box of a target in every frame: layouts on disk, frames, crops of them.

Boxes are (x, y, width, height) in pixels, float64: pixel i covers [i, i + 1], and x, y is the upper
left corner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.data.sequences.crops import Border, Window, cut, window_about
    from lwdna.data.sequences.layout import LAYOUTS, SequenceLayout, register_layout
    from lwdna.data.sequences.memory import FrameMemory
    from lwdna.data.sequences.opening import open_sequences
    from lwdna.data.sequences.photos import photo_sequences
    from lwdna.data.sequences.sequence import Sequence, stored_sequences

__all__ = [
    "LAYOUTS",
    "Border",
    "FrameMemory",
    "Sequence",
    "SequenceLayout",
    "Window",
    "cut",
    "open_sequences",
    "photo_sequences",
    "register_layout",
    "stored_sequences",
    "window_about",
]

export_lazily(
    __name__,
    {
        "lwdna.data.sequences.crops": ("Border", "Window", "cut", "window_about"),
        "lwdna.data.sequences.layout": ("LAYOUTS", "SequenceLayout", "register_layout"),
        "lwdna.data.sequences.memory": ("FrameMemory",),
        "lwdna.data.sequences.opening": ("open_sequences",),
        "lwdna.data.sequences.photos": ("photo_sequences",),
        "lwdna.data.sequences.sequence": ("Sequence", "stored_sequences"),
    },
)
