"""Weights as safetensors: written whole or not at all, loaded strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from lwdna.errors import CheckpointError
from lwdna.files import atomic


def save_weights(
    path: str | Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write ``weights`` by name atomically to ``path``, as a plain safetensors file.

    Raises:
        FileError: the file cannot be written; what stood at ``path`` is untouched.
    """
    write_tensors(path, {name: own_memory(tensor) for name, tensor in weights.items()}, metadata)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy ``weights`` into ``model``.

    Raises:
        CheckpointError: names or shapes differ; the first differences are named.
    """
    own = model.state_dict()
    faults = [f"{name} is not in the network" for name in weights if name not in own]
    faults += [f"{name} is not in the file" for name in own if name not in weights]
    faults += [
        f"{name} is {_shape(weights[name])} in the file and {_shape(own[name])} in the network"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(
            f"{source} belongs to another network: {'; '.join(faults[:3])}{more}; "
            "use the network it was made with"
        )
    model.load_state_dict(dict(weights))


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors that share no memory atomically to ``path``."""
    with atomic(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=dict(metadata))
        except SafetensorError as error:  # a full disk arrives as this, not as an OSError
            raise OSError(str(error)) from error


def own_memory(tensor: Tensor) -> Tensor:
    """Return a copy in memory of its own, because safetensors refuses shared or strided memory."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
