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
    from lwdna.data import register_format
    from lwdna.errors import LwdnaError
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
    from lwdna.tasks import register_task
    from lwdna.transforms import factorize, register_transform
    from lwdna.version import __version__ as __version__

__all__ = [
    "Architecture",
    "Budget",
    "ChannelGraph",
    "Edits",
    "LwdnaError",
    "ModelSource",
    "ShrinkSettings",
    "SlimSettings",
    "Slimmed",
    "create_model",
    "factorize",
    "list_models",
    "load",
    "register_criterion",
    "register_format",
    "register_keep_rule",
    "register_model",
    "register_rule",
    "register_task",
    "register_transform",
    "resize",
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
        "lwdna.data": ("register_format",),
        "lwdna.errors": ("LwdnaError",),
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
        "lwdna.transforms": ("factorize", "register_transform"),
    },
)
