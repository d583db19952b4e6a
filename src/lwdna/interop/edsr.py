"""Checkpoints of the PyTorch code of EDSR (Lim et al. 2017).

Their layout is that of :class:`lwdna.models.super_resolution.EDSR`: ``head.0``, ``body.N.body.0``
and ``body.N.body.2``, ``body.N``, ``tail.0.0`` (and ``tail.0.2`` at x4), ``tail.1``. The mean
colour is stored as 1x1 convolutions ``sub_mean`` and ``add_mean``, which also tell the range of
values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lwdna.architecture import Architecture
from lwdna.errors import CheckpointError
from lwdna.interop.state_dicts import import_state_dict, read_state_dict
from lwdna.models.super_resolution import RGB_MEAN

_BLOCK = re.compile(r"body\.(\d+)\.body\.0\.weight")
_FULL = (32, 256)
"""Blocks and channels of the network whose residuals are scaled by 0.1; the file does not say."""


def import_edsr(
    path: str | Path, input_size: tuple[int, int, int] = (3, 48, 48)
) -> tuple[nn.Module, Architecture]:
    """Turn a checkpoint of EDSR's PyTorch code into a network and its architecture.

    Blocks, widths, scale and range of values follow from the tensors; all tensors must be used.

    Args:
        path: the file, such as ``edsr_baseline_x2-*.pt``.
        input_size: (C, H, W), for the MACs.

    Raises:
        CheckpointError: the file is not such a checkpoint.
    """
    tensors = read_state_dict(path)
    blocks = len([name for name in tensors if _BLOCK.fullmatch(name)])
    head, up, last = (tensors.get(f"{name}.weight") for name in ("head.0", "tail.0.0", "tail.1"))
    if head is None or up is None or last is None or not blocks:
        raise CheckpointError(
            f"{path} is not a checkpoint of EDSR: it lacks head.0.weight, body.0.body.0.weight, "
            "tail.0.0.weight or tail.1.weight; for other networks use `lwdna import state-dict`"
        )
    width = head.shape[0]
    nine = up.shape[0] == 9 * last.shape[1]
    scale = 4 if "tail.0.2.weight" in tensors else 3 if nine else 2
    rgb_range = _value_range(tensors, str(path))
    full = (blocks, width) == _FULL
    return import_state_dict(
        "lwdna:edsr" if full else "lwdna:edsr_baseline",
        _with_shifts(tensors),
        input_size,
        model_args={
            "scale": scale,
            "in_chans": head.shape[1],
            "blocks": blocks,
            "width": width,
            "rgb_range": rgb_range,
        },
        origin=str(path),
    )


def _value_range(tensors: Mapping[str, Tensor], origin: str) -> float:
    """Return the largest value of images, once sure that both shifts are by the mean colour.

    Raises:
        CheckpointError: they are not.
    """
    mean = torch.tensor(RGB_MEAN)
    found: dict[str, Tensor] = {}
    for name in ("sub_mean", "add_mean"):
        weight, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
        if weight is None or bias is None or weight.numel() != 9 or bias.numel() != 3:
            raise CheckpointError(f"{origin} lacks {name}.weight and {name}.bias of three colours")
        if not torch.equal(weight.reshape(3, 3).float(), torch.eye(3)):
            raise CheckpointError(f"{origin} mixes or scales colours in {name}; EDSR only shifts")
        found[name] = bias.float()
    largest = round(float(found["add_mean"].sum() / mean.sum()), 3)
    if not (
        torch.allclose(found["add_mean"], mean * largest, rtol=1e-3)
        and torch.equal(found["sub_mean"], -found["add_mean"])
    ):
        raise CheckpointError(
            f"{origin} subtracts {found['sub_mean'].tolist()} and adds "
            f"{found['add_mean'].tolist()}; EDSR's mean colour is {list(RGB_MEAN)}"
        )
    return largest


def _with_shifts(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace the convolutions of the mean colour by the shifts that they make."""
    renamed = {name: tensor for name, tensor in tensors.items() if "_mean." not in name}
    for name in ("sub_mean", "add_mean"):
        renamed[f"{name}.shift"] = tensors[f"{name}.bias"].float().reshape(1, 3, 1, 1)
    return renamed
