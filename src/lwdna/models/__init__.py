"""Networks by name, and those of the papers that timm and torchvision lack."""

# Importing the families registers their networks.
from lwdna.models import (
    cifar_densenet,
    cifar_resnet,
    denoising,
    regnet,
    small_input,
    super_resolution,
)
from lwdna.models.registry import create_model, list_models, register_model, resolve_name

__all__ = [
    "cifar_densenet",
    "cifar_resnet",
    "create_model",
    "denoising",
    "list_models",
    "register_model",
    "regnet",
    "resolve_name",
    "small_input",
    "super_resolution",
]
