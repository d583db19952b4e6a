"""lwdna: find how many channels each layer of a convolutional network should have.

>>> graph = lwdna.trace(model, images[:1])
>>> arch = lwdna.shrink(model, images[:1], [(images, labels)], nn.CrossEntropyLoss())
"""

from lwdna.architecture import Architecture, ModelSource, load, save
from lwdna.channels import ChannelGraph, resize, trace, widen
from lwdna.errors import LwdnaError
from lwdna.methods import Budget, ShrinkSettings, shrink
from lwdna.models import create_model, list_models, register_model

__all__ = [
    "Architecture",
    "Budget",
    "ChannelGraph",
    "LwdnaError",
    "ModelSource",
    "ShrinkSettings",
    "create_model",
    "list_models",
    "load",
    "register_model",
    "resize",
    "save",
    "shrink",
    "trace",
    "widen",
]
