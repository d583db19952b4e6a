"""Images to learn from: formats on disk, reading, cropping and caching, for any task.

A data format of one's own derives from :class:`DataFormat` under :func:`register_format` and lists
its images as :class:`ArrayImages`, :class:`FolderImages` or another :class:`ImageSet`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.data.data_format import FORMATS, DataFormat, Defaults, Half, register_format
    from lwdna.data.images import ArrayImages, FolderImages, ImageSet, ListedHalf
    from lwdna.data.prepare import prepare
    from lwdna.data.settings import DataSettings

__all__ = [
    "FORMATS",
    "ArrayImages",
    "DataFormat",
    "DataSettings",
    "Defaults",
    "FolderImages",
    "Half",
    "ImageSet",
    "ListedHalf",
    "prepare",
    "register_format",
]

export_lazily(
    __name__,
    {
        "lwdna.data.data_format": (
            "FORMATS",
            "DataFormat",
            "Defaults",
            "Half",
            "register_format",
        ),
        "lwdna.data.images": ("ArrayImages", "FolderImages", "ImageSet", "ListedHalf"),
        "lwdna.data.prepare": ("prepare",),
        "lwdna.data.settings": ("DataSettings",),
    },
)
