"""lwdna: find how many channels each layer of a convolutional network should have.

>>> graph = lwdna.trace(model, images[:1])
>>> arch = lwdna.shrink(model, images[:1], [(images, labels)], nn.CrossEntropyLoss())
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.architecture import Architecture, ModelSource, load, save
    from lwdna.channels import ChannelGraph, Edits, register_rule, resize, trace, widen
    from lwdna.data import prepare, register_format
    from lwdna.data.sequences import register_layout
    from lwdna.errors import LwdnaError
    from lwdna.interface import Interface, Preprocessing, read_interface
    from lwdna.interop import from_pretrained
    from lwdna.methods import (
        Budget,
        ShrinkSettings,
        Slimmed,
        SlimSettings,
        register_criterion,
        register_keep_rule,
        shrink,
        slim,
    )
    from lwdna.models import create_model, list_models, register_model
    from lwdna.rewriting import merge, rewritten
    from lwdna.tasks import register_task
    from lwdna.transforms import factorize, filter_basis, register_transform
    from lwdna.version import __version__ as __version__

__all__ = [
    "Architecture",
    "Budget",
    "ChannelGraph",
    "Edits",
    "Interface",
    "LwdnaError",
    "ModelSource",
    "Preprocessing",
    "ShrinkSettings",
    "SlimSettings",
    "Slimmed",
    "create_model",
    "factorize",
    "filter_basis",
    "from_pretrained",
    "list_models",
    "load",
    "merge",
    "prepare",
    "read_interface",
    "register_criterion",
    "register_format",
    "register_keep_rule",
    "register_layout",
    "register_model",
    "register_rule",
    "register_task",
    "register_transform",
    "resize",
    "rewritten",
    "save",
    "shrink",
    "slim",
    "trace",
    "widen",
]

export_lazily(
    __name__,
    {
        "lwdna.architecture": ("Architecture", "ModelSource", "load", "save"),
        "lwdna.channels": ("ChannelGraph", "Edits", "register_rule", "resize", "trace", "widen"),
        "lwdna.data": ("prepare", "register_format"),
        "lwdna.data.sequences": ("register_layout",),
        "lwdna.errors": ("LwdnaError",),
        "lwdna.interface": ("Interface", "Preprocessing", "read_interface"),
        "lwdna.interop": ("from_pretrained",),
        "lwdna.rewriting": ("merge", "rewritten"),
        "lwdna.methods": (
            "Budget",
            "ShrinkSettings",
            "Slimmed",
            "SlimSettings",
            "register_criterion",
            "register_keep_rule",
            "shrink",
            "slim",
        ),
        "lwdna.models": ("create_model", "list_models", "register_model"),
        "lwdna.tasks": ("register_task",),
        "lwdna.version": ("__version__",),
        "lwdna.transforms": ("factorize", "filter_basis", "register_transform"),
    },
)
