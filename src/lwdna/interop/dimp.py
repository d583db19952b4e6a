"""Checkpoints of DiMP and SuperDiMP as pytracking publishes them.

A file holds the state dict under ``net`` and, beside it, how the network was made: objects of
pytracking's own classes. Of those only the attributes are read, into empty classes of ours under
their names; no code of the file runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lwdna.architecture import Architecture
from lwdna.errors import CheckpointError
from lwdna.interop.state_dicts import import_state_dict

CLASSES = (
    "model_constructor.NetConstructor",
    "stats.AverageMeter",
    "stats.StatValue",
    "settings.Settings",
    "local.EnvironmentSettings",
)
PACKAGES = ("ltr.admin", "dlframework.common.utils")
"""Where pytracking keeps the classes, now and in old files."""

UNUSED = re.compile(r"feature_extractor\.(layer4|fc)\.")
"""Layers that the files hold and the tracker does not run."""

OUR_NAMES = {
    "feature_extractor.": "backbone.body.",
    "classifier.feature_extractor.": "classifier.embed.",
    "classifier.filter_initializer.filter_conv.": "classifier.start.conv.",
    "classifier.filter_optimizer.log_step_length": "classifier.optimizer.log_step",
    "classifier.filter_optimizer.filter_reg": "classifier.optimizer.regularisation",
    "classifier.filter_optimizer.label_map_predictor.weight": "classifier.optimizer.label",
    "classifier.filter_optimizer.target_mask_predictor.0.weight": "classifier.optimizer.mask",
    "classifier.filter_optimizer.spatial_weight_predictor.weight": "classifier.optimizer.weight",
    "bb_regressor.conv3_1r.": "iou.reference_shallow.",
    "bb_regressor.fc3_1r.": "iou.reference_box.",
    "bb_regressor.conv4_1r.": "iou.reference_deep.",
    "bb_regressor.fc34_3r.": "iou.modulate_shallow.",
    "bb_regressor.fc34_4r.": "iou.modulate_deep.",
    "bb_regressor.conv3_1t.": "iou.test_shallow.0.",
    "bb_regressor.conv3_2t.": "iou.test_shallow.1.",
    "bb_regressor.conv4_1t.": "iou.test_deep.0.",
    "bb_regressor.conv4_2t.": "iou.test_deep.1.",
    "bb_regressor.fc3_rt.linear.": "iou.box_shallow.0.",
    "bb_regressor.fc3_rt.bn.": "iou.box_shallow.1.",
    "bb_regressor.fc4_rt.linear.": "iou.box_deep.0.",
    "bb_regressor.fc4_rt.bn.": "iou.box_deep.1.",
    "bb_regressor.iou_predictor.": "iou.overlap.",
}
"""Beginnings of their names and of ours."""

STEM = 64
"""Channels of the stem of timm's ResNets."""


def import_dimp(
    path: str | Path, image_size: int = 288, frames: tuple[int, int] = (1, 1), proposals: int = 8
) -> tuple[nn.Module, Architecture]:
    """Turn a checkpoint of DiMP into a network and its architecture.

    Kind and number of the blocks, all widths and the number of bins follow from the tensors; the
    filter's size, the steps and the bins' size from what the file says of the network, else they
    are the published ones. All tensors must be used, but those of layer 4 and behind.

    Args:
        path: the file, such as ``dimp50.pth``.
        image_size: side of the crops in pixels, for the MACs.
        frames: training and test frames, for the MACs.
        proposals: boxes per test frame, for the MACs.

    Raises:
        CheckpointError: the file is not such a checkpoint.
    """
    given, made = read_dimp(path)
    tensors = {own: tensor for name, tensor in given.items() if (own := own_name(name, str(path)))}
    args = _structure(tensors, str(path))
    for ours, theirs, kind in (
        ("filter_size", "filter_size", int),
        ("steps", "optim_iter", int),
        ("bin_size", "bin_displacement", float),
    ):
        if isinstance(made.get(theirs), kind):
            args[ours] = made[theirs]
    train, test = frames
    sizes = {
        "train_images": (train, 3, image_size, image_size),
        "train_boxes": (train, 4),
        "test_images": (test, 3, image_size, image_size),
    }
    if args["iou_head"]:
        sizes["proposals"] = (test, proposals, 4)
    return import_state_dict("lwdna:dimp", tensors, sizes, model_args=args, origin=str(path))


def own_name(name: str, origin: str = "the state dict") -> str | None:
    """Return our name of a tensor, None where the tracker does not use it.

    Raises:
        CheckpointError: DiMP has no tensor of that name.
    """
    if UNUSED.match(name):
        return None
    for theirs, ours in OUR_NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    raise CheckpointError(
        f"{origin} is not a checkpoint of DiMP: no layer of that network is called {name}; for "
        "other networks use `lwdna import state-dict`"
    )


def read_dimp(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the state dict of a checkpoint, and the arguments that its network was made with.

    Raises:
        CheckpointError: the file is missing, damaged, or holds other objects than those known.
    """
    names = [f"{package}.{name}" for package in PACKAGES for name in CLASSES]
    # A class of its own for each name: torch tells them apart by the class.
    empty: list[Any] = [(type(name.rpartition(".")[2], (), {}), name) for name in names]
    try:
        with torch.serialization.safe_globals(empty):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read weights {path}: {error}") from error
    except Exception as error:  # whatever torch makes of damaged bytes
        raise CheckpointError(
            f"{path} was not read: it is damaged or holds more than a checkpoint of DiMP does, and "
            "lwdna unpickles nothing else"
        ) from error
    net = content.get("net") if isinstance(content, dict) else None
    tensors = {
        name: tensor
        for name, tensor in (net.items() if isinstance(net, Mapping) else ())
        if isinstance(name, str) and isinstance(tensor, Tensor)
    }
    if not tensors:
        raise CheckpointError(
            f"{path} is not a checkpoint of pytracking: it holds no tensors under 'net'; for other "
            "files use `lwdna import state-dict`"
        )
    made = getattr(content.get("constructor"), "kwds", None)
    return tensors, dict(made) if isinstance(made, Mapping) else {}


def _structure(tensors: Mapping[str, Tensor], origin: str) -> dict[str, Any]:
    """Return the arguments of :func:`lwdna.models.tracking.dimp.dimp` that names and shapes tell.

    Raises:
        CheckpointError: the layers are not those of a DiMP on a ResNet.
    """
    label = tensors.get("classifier.optimizer.label")
    layers = [_count(tensors, f"backbone.body.layer{stage}.") for stage in (1, 2, 3)]
    if label is None or label.ndim != 4 or not all(layers):
        raise CheckpointError(
            f"{origin} is not a checkpoint of DiMP: it lacks the label of the filter's optimiser "
            "or one of the first three stages of a ResNet"
        )
    bottleneck = "backbone.body.layer1.0.conv3.weight" in tensors
    backbone: dict[str, Any] = {"layers": [*layers, 1]}
    projected = "backbone.body.layer1.0.downsample.0.weight" in tensors
    if projected is not bottleneck:  # whether the first block has one follows from its widths
        backbone["channels"] = [2 * STEM if projected else STEM // 4, 128, 256, 512]
    return {
        "backbone": "timm:resnet50" if bottleneck else "timm:resnet18",
        "backbone_args": backbone,
        "block": "bottleneck" if bottleneck else "basic",
        "blocks": sum(
            f"classifier.embed.{number}.conv1.weight" in tensors
            for number in range(_count(tensors, "classifier.embed."))
        ),
        "bins": label.shape[1],
        "iou_head": "iou.overlap.weight" in tensors,
    }


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})
