"""Rewrites of a network before it is traced, recorded so that an architecture file replays them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.transforms.bases import dense_of
    from lwdna.transforms.basis import filter_basis
    from lwdna.transforms.basis_settings import FilterBasisSettings
    from lwdna.transforms.costs import PairCost, costs_of_pairs
    from lwdna.transforms.factorize import FactorizeSettings, factorize
    from lwdna.transforms.rewrite import rewrite, transforms_of
    from lwdna.transforms.table import TRANSFORMS, Transform, register_transform

__all__ = [
    "TRANSFORMS",
    "FactorizeSettings",
    "FilterBasisSettings",
    "PairCost",
    "Transform",
    "costs_of_pairs",
    "dense_of",
    "factorize",
    "filter_basis",
    "register_transform",
    "rewrite",
    "transforms_of",
]

export_lazily(
    __name__,
    {
        "lwdna.transforms.bases": ("dense_of",),
        "lwdna.transforms.basis": ("filter_basis",),
        "lwdna.transforms.basis_settings": ("FilterBasisSettings",),
        "lwdna.transforms.costs": ("PairCost", "costs_of_pairs"),
        "lwdna.transforms.factorize": ("FactorizeSettings", "factorize"),
        "lwdna.transforms.rewrite": ("rewrite", "transforms_of"),
        "lwdna.transforms.table": ("TRANSFORMS", "Transform", "register_transform"),
    },
)
