"""Rewrites of a network before it is traced, recorded so that an architecture file replays them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.transforms.factorize import FactorizeSettings, factorize
    from lwdna.transforms.rewrite import rewrite, transforms_of
    from lwdna.transforms.table import TRANSFORMS, Transform, register_transform

__all__ = [
    "TRANSFORMS",
    "FactorizeSettings",
    "Transform",
    "factorize",
    "register_transform",
    "rewrite",
    "transforms_of",
]

export_lazily(
    __name__,
    {
        "lwdna.transforms.factorize": ("FactorizeSettings", "factorize"),
        "lwdna.transforms.rewrite": ("rewrite", "transforms_of"),
        "lwdna.transforms.table": ("TRANSFORMS", "Transform", "register_transform"),
    },
)
