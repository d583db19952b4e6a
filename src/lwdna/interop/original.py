"""Checkpoints of the original LW-DNA project: its ResNets, for ImageNet and CIFAR, and RegNets.

The layout of the ImageNet ResNets: ``features.0`` is the stem (a convolution with ``bn_main``),
``features.1`` the max-pooling, ``features.{2+b}`` block b counted over all stages with ``layer1``,
``layer2`` (and ``layer3`` in bottlenecks) and, where there is one, ``downsample``; then
``classifier``. Files saved by the search begin with latent vectors that nothing uses any more. The
project's own evaluation command loads by position, so files may carry torchvision's names instead,
in torchvision's order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from lwdna.architecture import Architecture
from lwdna.errors import CheckpointError
from lwdna.interop import original_cifar, original_regnet
from lwdna.interop.state_dicts import import_state_dict, read_state_dict

STAGES: dict[tuple[int, tuple[int, ...]], str] = {
    (2, (2, 2, 2, 2)): "resnet18",
    (2, (3, 4, 6, 3)): "resnet34",
    (3, (3, 4, 6, 3)): "resnet50",
    (3, (3, 4, 23, 3)): "resnet101",
    (3, (3, 8, 36, 3)): "resnet152",
}
"""torchvision's ResNets by layers per block and blocks per stage."""

_BLOCK = re.compile(r"features\.(\d+)\.(layer(\d)|downsample)\.(bn_main\.)?(\w+)")


def import_original(
    path: str | Path, input_size: tuple[int, int, int] | None = None
) -> tuple[nn.Module, Architecture]:
    """Turn a checkpoint of the original project into a network and its architecture.

    Args:
        path: a state dict as its commands save them.
        input_size: (C, H, W), for the MACs; default 32 pixels for CIFAR, else 224. RegNets have
            the strides of ImageNet.

    Returns:
        The network at the checkpoint's widths, in eval mode, and the architecture: torchvision's
        ResNet, lwdna's ResNet for CIFAR or timm's RegNet.

    Raises:
        CheckpointError: the file is not such a checkpoint.
    """
    tensors = {
        name: tensor
        for name, tensor in read_state_dict(path).items()
        if not any(part.startswith("latent_vector") for part in name.split("."))
    }
    layout = _layout_of(tensors)
    if layout is not None:
        network, args, renamed = layout.rename(tensors, str(path))
        return import_state_dict(
            network, renamed, input_size or layout.SIZE, model_args=args, origin=str(path)
        )
    if "features.0.weight" in tensors:
        depth, tensors = _rename(tensors, str(path))
    elif "layer1.0.conv1.weight" in tensors:
        depth = _depth(
            3 if "layer1.0.conv3.weight" in tensors else 2,
            [_count(tensors, f"layer{stage}.") for stage in range(1, 5)],
            str(path),
        )
    else:
        raise CheckpointError(
            f"{path} is not a network of the original project: it has neither features.0.weight "
            "nor layer1.0.conv1.weight; for other networks use `lwdna import state-dict`"
        )
    classes = tensors["fc.weight"].shape[0] if "fc.weight" in tensors else 1000
    return import_state_dict(
        f"torchvision:{depth}",
        tensors,
        input_size or (3, 224, 224),
        model_args={"num_classes": classes},
        origin=str(path),
    )


def _layout_of(tensors: Mapping[str, Tensor]) -> ModuleType | None:
    """Return the module that knows the layout, None for that of the ImageNet ResNets."""
    if "features.1.skip_proj.weight" in tensors:
        return original_regnet
    return original_cifar if "features.1.layer1.weight" in tensors else None


def _rename(tensors: Mapping[str, Tensor], origin: str) -> tuple[str, dict[str, Tensor]]:
    """Give the tensors torchvision's names; return the name of the network with them."""
    blocks = sorted({int(match[1]) for name in tensors if (match := _BLOCK.match(name))})
    if not blocks:
        raise CheckpointError(f"{origin} has no blocks features.N.layer1; it is not a ResNet")
    layers = 3 if f"features.{blocks[0]}.layer3.weight" in tensors else 2
    depth, places = _place_blocks(tensors, blocks, layers, origin)
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        renamed[_torchvision_name(name, places, origin)] = tensor
    return depth, renamed


def _place_blocks(
    tensors: Mapping[str, Tensor], blocks: list[int], layers: int, origin: str
) -> tuple[str, dict[int, str]]:
    """Find the network whose stages begin where the checkpoint's blocks have a downsample."""
    found = {b for b in blocks if f"features.{b}.downsample.weight" in tensors}
    for (depth_layers, stages), name in STAGES.items():
        if depth_layers != layers or sum(stages) != len(blocks):
            continue
        places = [(stage, block) for stage, count in enumerate(stages, 1) for block in range(count)]
        expected = {
            number
            for number, (stage, block) in zip(blocks, places, strict=True)
            if block == 0 and (stage > 1 or layers == 3)
        }
        if expected == found:
            return name, {
                number: f"layer{stage}.{block}"
                for number, (stage, block) in zip(blocks, places, strict=True)
            }
    raise CheckpointError(
        f"{origin} has {len(blocks)} blocks of {layers} layers, {len(found)} of them with a "
        f"downsample; known are {', '.join(STAGES.values())}"
    )


def _torchvision_name(name: str, places: Mapping[int, str], origin: str) -> str:
    if match := _BLOCK.fullmatch(name):
        place = places[int(match[1])]
        if match[2] == "downsample":
            return f"{place}.downsample.{1 if match[4] else 0}.{match[5]}"
        return f"{place}.{'bn' if match[4] else 'conv'}{match[3]}.{match[5]}"
    for old, new in (
        ("features.0.bn_main.", "bn1."),
        ("features.0.", "conv1."),
        ("classifier.", "fc."),
    ):
        if name.startswith(old):
            return new + name.removeprefix(old)
    raise CheckpointError(f"{origin} has a tensor {name} that a ResNet of this project lacks")


def _depth(layers: int, stages: list[int], origin: str) -> str:
    name = STAGES.get((layers, tuple(stages)))
    if name is None:
        raise CheckpointError(
            f"{origin} has stages of {stages} blocks of {layers} layers; "
            f"known are {', '.join(STAGES.values())}"
        )
    return name


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.split(".")[1] for name in tensors if name.startswith(prefix)})
