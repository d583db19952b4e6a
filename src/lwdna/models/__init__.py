"""Networks by name, and those of the papers that timm and torchvision lack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwdna.lazy import export_lazily

if TYPE_CHECKING:
    from lwdna.models.registry import create_model, list_models, register_model, resolve_name

__all__ = ["create_model", "list_models", "register_model", "resolve_name"]

export_lazily(
    __name__,
    {
        "lwdna.models.registry": (
            "create_model",
            "list_models",
            "register_model",
            "resolve_name",
        ),
    },
)
