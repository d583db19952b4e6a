"""Training checkpoints: one safetensors file each, written whole or not at all.

Tensors are stored by their place in the state (``model/conv1.weight``), everything else as JSON
in the header. Nothing is pickled, so a checkpoint from anywhere is safe to open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lwdna.errors import CheckpointError
from lwdna.files import atomic

_FORMAT = "lwdna-checkpoint"
_VERSION = "1"


def save_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` (nested dicts, lists, tuples, tensors, plain values) atomically to ``path``.

    Raises:
        FileError: the file cannot be written; what stood at ``path`` is untouched.
    """
    tensors: dict[str, Tensor] = {}
    layout = {name: _encode(value, name, tensors) for name, value in state.items()}
    header = {"format": _FORMAT, "version": _VERSION, "state": json.dumps(layout)}
    _write(path, tensors, header)


def save_weights(
    path: str | Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write ``weights`` by name atomically to ``path``, as a plain safetensors file.

    Raises:
        FileError: the file cannot be written; what stood at ``path`` is untouched.
    """
    _write(path, {name: _own_memory(tensor) for name, tensor in weights.items()}, metadata)


def load_state(path: str | Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote; tensors arrive on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind or version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        if header.get("format") != _FORMAT:
            raise CheckpointError(f"{path} is not a training checkpoint of lwdna")
        if header.get("version") != _VERSION:
            raise CheckpointError(
                f"{path} has checkpoint version {header.get('version')}, this lwdna reads "
                f"{_VERSION}; resume with the lwdna that wrote it"
            )
        tensors = load_file(path)
        layout = json.loads(header["state"])
        return {name: _decode(value, tensors) for name, value in layout.items()}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"cannot read checkpoint {path}: {error}; restore the file or start again in a new "
            "folder"
        ) from error


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


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _write(path: str | Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> None:
    with atomic(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=dict(metadata))
        except SafetensorError as error:  # a full disk arrives as this, not as an OSError
            raise OSError(str(error)) from error


def _own_memory(tensor: Tensor) -> Tensor:
    """Return a copy in memory of its own, because safetensors refuses shared or strided memory."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _encode(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """Return ``value`` as JSON, its tensors moved to ``tensors`` under their place."""
    if isinstance(value, Tensor):
        tensors[place] = _own_memory(value)
        return {"tensor": place}
    if isinstance(value, Mapping):
        return {"dict": [[k, _encode(v, f"{place}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_encode(v, f"{place}/{i}", tensors) for i, v in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold {place}: {type(value).__name__}")


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _decode(item, tensors) for key, item in content}
    items = [_decode(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
