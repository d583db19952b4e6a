"""The original project's ResNets for CIFAR, as checkpoints.

``features.0`` is the stem (a convolution with ``bn_main``), ``features.{1+b}`` block b counted over
all three stages with ``layer1`` and ``layer2`` and, where a later stage begins, ``downsample``
(a 1x1 convolution with ``bn_main``); then ``classifier``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from lwdna.errors import CheckpointError
from lwdna.models import list_models

SIZE = (3, 32, 32)

_BLOCK = re.compile(r"features\.([1-9]\d*)\.(?:layer(\d)|downsample)\.(bn_main\.)?(\w+)")


def rename(
    tensors: Mapping[str, Tensor], origin: str
) -> tuple[str, dict[str, object], dict[str, Tensor]]:
    """Return the network's name, its arguments and the tensors with its names.

    Raises:
        CheckpointError: the tensors are not those of a ResNet for CIFAR that lwdna has.
    """
    found = [match for name in tensors if (match := _BLOCK.match(name))]
    blocks = sorted({int(match[1]) for match in found})
    per_stage = len(blocks) // 3
    downsampled = [n for n in blocks if f"features.{n}.downsample.weight" in tensors]
    layers = max(int(match[2] or 0) for match in found)
    network = f"lwdna:resnet{6 * per_stage + 2}_cifar"
    known = list_models("lwdna:resnet*_cifar")
    expected = [1 + per_stage, 1 + 2 * per_stage]
    if layers != 2 or network not in known or downsampled != expected or len(blocks) % 3:
        raise CheckpointError(
            f"{origin} has {len(blocks)} blocks of {layers} layers, {len(downsampled)} of them "
            "with a downsample; of the original project's networks for CIFAR, ResNets of basic "
            f"blocks are known: {', '.join(known)}"
        )
    renamed = {_name(name, per_stage, origin): tensor for name, tensor in tensors.items()}
    classes = len(tensors["classifier.weight"]) if "classifier.weight" in tensors else 10
    return network, {"num_classes": classes, "shortcut": "B"}, renamed


def _name(name: str, per_stage: int, origin: str) -> str:
    if match := _BLOCK.fullmatch(name):
        stage, block = divmod(int(match[1]) - 1, per_stage)
        layer, norm, what = match[2], match[3], match[4]
        part = f"{'bn' if norm else 'conv'}{layer}" if layer else f"shortcut.{1 if norm else 0}"
        return f"stages.{stage}.{block}.{part}.{what}"
    for old, new in (
        ("features.0.bn_main.", "stem.1."),
        ("features.0.", "stem.0."),
        ("classifier.", "fc."),
    ):
        if name.startswith(old):
            return new + name.removeprefix(old)
    raise CheckpointError(f"{origin} has a tensor {name} that a ResNet of this project lacks")
