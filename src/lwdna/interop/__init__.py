"""Networks and weights from other projects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.interop.dimp import import_dimp
    from lwdna.interop.edsr import import_edsr
    from lwdna.interop.hub import fetch_weights, from_pretrained
    from lwdna.interop.original import import_original
    from lwdna.interop.state_dicts import import_state_dict, read_state_dict, widths_of

__all__ = [
    "fetch_weights",
    "from_pretrained",
    "import_dimp",
    "import_edsr",
    "import_original",
    "import_state_dict",
    "read_state_dict",
    "widths_of",
]

export_lazily(
    __name__,
    {
        "lwdna.interop.dimp": ("import_dimp",),
        "lwdna.interop.edsr": ("import_edsr",),
        "lwdna.interop.hub": ("fetch_weights", "from_pretrained"),
        "lwdna.interop.original": ("import_original",),
        "lwdna.interop.state_dicts": (
            "import_state_dict",
            "read_state_dict",
            "widths_of",
        ),
    },
)
